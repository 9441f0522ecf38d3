//! `vdeploy runs prune`: old runs go and their room with them, and whatever a
//! later command needs is still there.

use crate::e2e::Add;
use crate::e2e::cut::kill_deploy;
use crate::e2e::gated::{self, Gate, builds};
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, params};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use vdeploy_tests::base::{text, wait_for};
use vdeploy_tests::small_disk::SmallDisk;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    let mut test = |name: &str, test| crate::e2e::test(add, &format!("prune::{name}"), test);
    test("old_runs_go_and_rollback_finds_its_run", old_runs);
    test("a_run_that_was_cut_off_can_still_be_gone_on_with", cut_off);
    test("beside_a_run_at_work_only_ended_ones_go", beside_a_run);
    test("killed_in_the_middle_it_leaves_a_whole_store", killed);
    test("on_a_full_disk_the_runs_go_all_the_same", full);
    test("a_state_directory_that_fails_is_told", failing);
}

/// Deploys this version and returns the run.
fn deploy(site: &Site<'_>, version: &str) -> Result<String> {
    let source = format!("export const VERSION: string = \"{version}\";\n");
    site.remote
        .push_files(version, &[("src/version.ts", &source)])?;
    let ran = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some(version));
    text(&ran.event("run-finished")?, "run")
}

/// The answer of `vdeploy runs prune --json MORE`.
fn prune(site: &Site<'_>, more: &[&str]) -> Result<Value> {
    let args = [&["runs", "prune", "--json"], more].concat();
    json(site.vdeploy(&args)?.expect_code(0)?)
}

fn json(ran: Ran) -> Result<Value> {
    serde_json::from_str(&ran.stdout).with_context(|| ran.text())
}

/// The ids of `removed` or `kept`.
fn ids(answer: &Value, list: &str) -> Result<Vec<String>> {
    let runs = answer.get(list).and_then(Value::as_array);
    let runs = runs.with_context(|| format!("no `{list}` in {answer}"))?;
    runs.iter().map(|run| text(run, "id")).collect()
}

/// Ids and reasons of what stays.
fn kept(answer: &Value) -> Result<Vec<(String, String)>> {
    let runs = answer.get("kept").and_then(Value::as_array);
    let runs = runs.with_context(|| format!("no `kept` in {answer}"))?;
    runs.iter()
        .map(|run| Ok((text(run, "id")?, text(run, "reason")?)))
        .collect()
}

fn number(answer: &Value, key: &str) -> Result<u64> {
    let number = answer.get(key).and_then(Value::as_u64);
    number.with_context(|| format!("no `{key}` in {answer}"))
}

/// The ids of all runs, newest first; each can be shown from its first entry
/// on.
fn listed(site: &Site<'_>) -> Result<Vec<String>> {
    let list = json(site.vdeploy(&["runs", "list", "--json", "-n", "99"])?)?;
    let runs = ids(&list, "runs")?;
    for run in &runs {
        let shown = site.vdeploy(&["runs", "show", run, "--json"])?;
        json(shown.expect_code(0)?)?;
    }
    Ok(runs)
}

fn old_runs(base: &Base) -> Result<()> {
    let site = base.site()?;
    let first = deploy(&site, "2.0.0")?;
    let second = deploy(&site, "3.0.0")?;
    let third = deploy(&site, "4.0.0")?;
    let all = [&*third, &*second, &*first];

    // A bare word costs nobody the history.
    site.vdeploy(&["runs", "prune"])?
        .expect_code(2)?
        .expect_text("--older-than")?;
    let bare = site.vdeploy(&["runs", "prune", "--json"])?.expect_code(2)?;
    ensure!(bare.event("error").is_ok(), "{}", bare.text());
    site.vdeploy(&["runs", "prune", "--older-than", "30"])?
        .expect_code(2)?
        .expect_text("`30` is not a duration")?;
    let file = site.state().join("vdeploy.db");
    let before = std::fs::read(&file)?;
    site.vdeploy(&["runs", "prune", "--keep", "1", "--dry-run"])?
        .expect_code(0)?
        .expect_text("2 runs would be removed")?
        .expect_text(&first)?;
    let shown = prune(&site, &["--keep", "1", "--dry-run"])?;
    ensure!(ids(&shown, "removed")? == [&*second, &*first], "{shown}");
    ensure!(number(&shown, "given-back")? == 0, "{shown}");
    ensure!(
        std::fs::read(&file)? == before,
        "a dry run changed the store"
    );
    ensure!(listed(&site)? == all);
    // Nothing is so old, and nothing is on another target.
    let none = prune(&site, &["--keep", "1", "--older-than", "1d"])?;
    ensure!(ids(&none, "removed")?.is_empty(), "{none}");
    let none = prune(&site, &["--keep", "0", "--target", "other"])?;
    ensure!(ids(&none, "removed")?.is_empty(), "{none}");
    ensure!(listed(&site)? == all);

    let done = prune(&site, &["--keep", "1"])?;
    ensure!(ids(&done, "removed")? == [&*second, &*first], "{done}");
    ensure!(kept(&done)?.is_empty(), "{done}");
    ensure!(listed(&site)? == [&*third]);
    let size = std::fs::metadata(&file)?.len();
    let was = u64::try_from(before.len())?;
    ensure!(size < was * 2 / 3, "{size} bytes, and before {was}");
    let given_back = number(&done, "given-back")?;
    ensure!(
        given_back > 0 && number(&done, "bytes-after")? == size,
        "{done}"
    );
    site.vdeploy(&["rollback", &first])?
        .expect_code(2)?
        .expect_text("no run")?;

    // The way back of the newest change is there; then none is left.
    let ran = site.vdeploy(&["rollback", "--json"])?.expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("3.0.0"),
        "{:?}",
        site.version()
    );
    let back = text(&ran.event("run-finished")?, "run")?;
    let stays = prune(&site, &["--keep", "0"])?;
    ensure!(ids(&stays, "removed")?.is_empty(), "{stays}");
    let reasons = [(&*back, "last-change"), (&*third, "rolled-back-by")];
    let reasons = reasons.map(|(id, why)| (id.to_owned(), why.to_owned()));
    ensure!(kept(&stays)? == reasons, "{stays}");
    site.vdeploy(&["runs", "prune", "--keep", "0"])?
        .expect_code(0)?
        .expect_text(&back)?;
    site.vdeploy(&["rollback"])?
        .expect_code(2)?
        .expect_text("nothing is left to undo")?;
    site.vdeploy(&["runs", "export", &back])?.expect_code(0)?;
    // What the next run reads is there: it deploys as ever.
    deploy(&site, "5.0.0")?;
    Ok(())
}

fn cut_off(base: &Base) -> Result<()> {
    let site = base.site()?;
    let first = deploy(&site, "2.1.0")?;
    let second = deploy(&site, "2.2.0")?;
    let gate = Gate::push(&site)?;
    let cut = kill_deploy(&site, &[], builds)?;
    let answer = prune(&site, &["--keep", "0"])?;
    ensure!(ids(&answer, "removed")? == [first], "{answer}");
    let [(run, why), (stands, rollback)] = &kept(&answer)?[..] else {
        anyhow::bail!("{answer}");
    };
    ensure!(*run == cut.run && *stands == second && rollback == "rollback");
    // Right after the kill its lease has not run out yet.
    ensure!(why == "interrupted" || why == "running", "{answer}");
    gate.open()?;
    site.vdeploy(&["resume", "--json"])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some(gated::NEW));
    let done = prune(&site, &["--keep", "1"])?;
    ensure!(ids(&done, "removed")? == [second], "{done}");
    ensure!(listed(&site)? == [cut.run]);
    crate::e2e::hold::lease_is_free(&site)
}

fn beside_a_run(base: &Base) -> Result<()> {
    let site = base.site()?;
    let first = deploy(&site, "2.1.0")?;
    let second = deploy(&site, "2.2.0")?;
    let gate = Gate::push(&site)?;
    let mut begun = UnderWay::until(gated::deploy(&site), builds)?;
    let answer = prune(&site, &["--keep", "0"])?;
    ensure!(ids(&answer, "removed")? == [first], "{answer}");
    let reasons = [(&*begun.run, "running"), (&*second, "rollback")];
    let reasons = reasons.map(|(id, why)| (id.to_owned(), why.to_owned()));
    ensure!(kept(&answer)? == reasons, "{answer}");
    let why = text(&answer, "not-smaller")?;
    ensure!(why.contains(&begun.run), "{answer}");
    gate.open()?;
    begun.end()?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some(gated::NEW));
    // What was not given back then is now.
    let answer = prune(&site, &["--keep", "2"])?;
    ensure!(ids(&answer, "removed")?.is_empty(), "{answer}");
    ensure!(number(&answer, "given-back")? > 0, "{answer}");
    ensure!(listed(&site)? == [&*begun.run, &*second]);
    Ok(())
}

fn open(site: &Site<'_>) -> Result<Connection> {
    let db = Connection::open(site.state().join("vdeploy.db"))?;
    db.busy_timeout(Duration::from_secs(60))?;
    Ok(db)
}

/// The id of an older copy of a run.
fn copy(nth: u32) -> String {
    format!("COPY{nth:02}")
}

/// A deploy with so many older copies of it, each a day before the next.
fn with_copies(site: &Site<'_>, copies: u32) -> Result<String> {
    let run = deploy(site, "2.1.0")?;
    let db = open(site)?;
    for nth in 1..=copies {
        let names = params![run, copy(nth), nth];
        db.execute(
            "INSERT INTO run SELECT ?2, target, plan, started_by,
               started_at - ?3 * 86400000, finished_at - ?3 * 86400000, outcome, dry_run,
               replace(record, ?1, ?2)
             FROM run WHERE id = ?1",
            names,
        )?;
        db.execute(
            "INSERT INTO journal SELECT ?2, seq, at, entry FROM journal WHERE run = ?1",
            params![run, copy(nth)],
        )?;
        // Stored before it, too.
        db.execute(
            "UPDATE run SET rowid = -?2 WHERE id = ?1",
            params![copy(nth), nth],
        )?;
    }
    Ok(run)
}

fn entries(db: &Connection, run: &str) -> Result<u32> {
    let count = "SELECT count(*) FROM journal WHERE run = ?1";
    Ok(db.query_row(count, [run], |row| row.get(0))?)
}

fn killed(base: &Base) -> Result<()> {
    let site = base.site()?;
    let run = with_copies(&site, 4)?;
    let db = open(&site)?;
    let whole = entries(&db, &run)?;
    // The removal of the third copy stands still in the middle.
    db.execute_batch(&format!(
        "CREATE TRIGGER still AFTER DELETE ON journal WHEN old.run = '{}' AND old.seq = 5
         BEGIN SELECT (WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
           SELECT count(*) FROM n); END",
        copy(3)
    ))?;
    let mut child = site
        .command(&["runs", "prune", "--keep", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let limit = Duration::from_secs(120);
    let there = wait_for("the second removal", limit, || {
        matches!(entries(&db, &copy(2)), Ok(0)).then_some(())
    });
    // It has the write lock and does not give it back.
    let probe = open(&site)?;
    probe.busy_timeout(Duration::from_secs(2))?;
    let stands = wait_for("the third one", limit, || {
        let free = probe.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
        free.is_err().then_some(())
    });
    child.kill()?;
    let ended = child.wait()?;
    there?;
    stands?;
    ensure!(ended.code().is_none(), "it had ended: {ended}");

    db.execute_batch("DROP TRIGGER still")?;
    let word: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(word == "ok", "{word}");
    ensure!(listed(&site)? == [&*run, &*copy(3), &*copy(4)]);
    for left in [&*run, &*copy(3), &*copy(4)] {
        ensure!(entries(&db, left)? == whole, "{left}");
    }
    let done = prune(&site, &["--keep", "1"])?;
    ensure!(ids(&done, "removed")? == [copy(3), copy(4)], "{done}");
    ensure!(listed(&site)? == [&*run]);
    site.vdeploy(&["rollback"])?.expect_code(0)?;
    Ok(())
}

fn full(base: &Base) -> Result<()> {
    let site = base.site()?;
    let run = with_copies(&site, 40)?;
    let whole = std::fs::read(site.state().join("vdeploy.db"))?;
    let disk = SmallDisk::over(&site.state(), 48)?;
    std::fs::write(disk.seen("vdeploy.db"), whole)?;
    let prune = || {
        let args = ["runs", "prune", "--keep", "31", "--json"];
        disk.enter(&site.command(&args)).output()
    };
    let list = || {
        disk.enter(&site.command(&["runs", "list", "--json", "-n", "99"]))
            .output()
    };
    disk.fill()?;
    // Without any room nothing goes, and that is said.
    Ran::from(prune()?)
        .expect_code(1)?
        .expect_text("free some space")?;
    // With room for one run at a time, and not for all that stays.
    disk.leave(2 << 20)?;
    let answer = json(Ran::from(prune()?).expect_code(1)?)?;
    ensure!(ids(&answer, "removed")?.len() == 10, "{answer}");
    let why = text(&answer, "not-smaller")?;
    for word in ["free some space", "MiB beside it"] {
        ensure!(why.contains(word), "no `{word}` in {answer}");
    }
    let mut left = vec![run];
    left.extend((1..=30).map(copy));
    ensure!(ids(&json(Ran::from(list()?))?, "runs")? == left);
    disk.free()?;
    let answer = json(Ran::from(prune()?).expect_code(0)?)?;
    ensure!(ids(&answer, "removed")?.is_empty(), "{answer}");
    let (before, after) = (
        number(&answer, "bytes-before")?,
        number(&answer, "bytes-after")?,
    );
    ensure!(after < before * 9 / 10, "{answer}");
    let seen = std::fs::metadata(disk.seen("vdeploy.db"))?.len();
    ensure!(seen == after, "{seen} bytes: {answer}");
    ensure!(ids(&json(Ran::from(list()?))?, "runs")? == left);
    Ok(())
}

fn failing(base: &Base) -> Result<()> {
    let site = base.site()?;
    let run = with_copies(&site, 1)?;
    let lock = open(&site)?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    let args = ["runs", "prune", "--keep", "1"];
    site.vdeploy(&args)?
        .expect_code(1)?
        .expect_text("nothing was removed")?
        .expect_text("locked for too long")?;
    lock.execute_batch("ROLLBACK")?;
    ensure!(listed(&site)? == [run, copy(1)]);
    let disk = SmallDisk::over(&site.state(), 8)?;
    let list = disk.enter(&site.command(&["runs", "list"])).output()?;
    Ran::from(list).expect_code(0)?;
    disk.read_only()?;
    Ran::from(disk.enter(&site.command(&args)).output()?)
        .expect_code(1)?
        .expect_text("mend the permissions or choose another place with `--state`")?;
    Ok(())
}
