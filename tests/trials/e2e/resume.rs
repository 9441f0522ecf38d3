//! What becomes of a run that was interrupted: nothing is begun beside it, and it
//! is resumed, rolled back or abandoned.

use crate::e2e::Add;
use crate::e2e::builds::{self, still_waits};
use crate::e2e::counted::Counted;
use crate::e2e::cut::{Cut, begins, kill_deploy, kill_when, kind};
use crate::e2e::hold::elsewhere;
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vdeploy_tests::base::text;
use vdeploy_tests::{Base, Site};

pub fn add(add: &mut Add<'_>) {
    let mut test = |name: &str, test| crate::e2e::test(add, &format!("resume::{name}"), test);
    test(
        "beside_a_run_that_was_cut_off_nothing_begins_and_a_rollback_ends_its_build",
        rolled_back,
    );
    test(
        "with_another_token_the_service_is_not_restarted",
        other_token,
    );
    test("plugins_of_other_bytes_do_not_go_on_with_it", other_bytes);
    test(
        "the_end_of_a_resumed_run_is_that_of_an_uninterrupted_one",
        same_end,
    );
    test("an_abandoned_run_makes_way_and_says_why", abandoned);
    test(
        "a_run_whose_target_is_gone_can_be_abandoned",
        abandoned_away,
    );
    test(
        "a_rollback_that_does_not_reach_the_target_leaves_the_run_resumable",
        rolled_back_away,
    );
    test(
        "a_resume_beside_another_machines_run_keeps_the_jobs",
        held_elsewhere,
    );
}

/// A plugin of the project is built anew between the crash and the resume.
fn other_bytes(base: &Base) -> Result<()> {
    let site = base.site()?;
    let wasm = site.dir().join("version-check.wasm");
    let built = std::fs::read(crate::e2e::plugins::component("version-check")?)?;
    std::fs::write(&wasm, &built)?;
    site.write_project(&format!(
        "[plugins.version-check]\npath = \"{}\"\n\
         [plugins.version-check.grants]\nhttp = [\"GET target/version\"]\n\
         [plans.default]\nextends = \"default\"\n\
         [[plans.default.step]]\nid = \"version-check\"\nplugin = \"version-check\"\n\
         after = \"smoke\"\n[plans.default.step.config]\nexpect = \"2.0.0\"\n",
        wasm.display()
    ))?;
    site.remote.push_variant("good-v2")?;
    let cut = kill_deploy(&site, &[], begins("restart", "run"))?;
    let run = &cut.run;
    // A custom section: the same code in other bytes.
    let other = [&built[..], &[0, 2, 1, b'x']].concat();
    std::fs::write(&wasm, other)?;
    let head = site.head()?;
    site.vdeploy(&["resume", run])?
        .expect_code(30)?
        .expect_text("version-check")?
        .expect_text("bring those bytes back")?
        .expect_text(&format!("vdeploy rollback {run}"))?;
    // Nobody is told to grant what other bytes ask for.
    std::fs::write(
        &wasm,
        std::fs::read(crate::e2e::plugins::component("own-restart")?)?,
    )?;
    site.vdeploy(&["resume", run])?
        .expect_code(30)?
        .expect_text("bring those bytes back")?;
    // Without its project file the run has not all that it needs.
    let project = site.dir().join("vdeploy.toml");
    let away = site.dir().join("ours.toml");
    std::fs::rename(&project, &away)?;
    let plain = site.vdeploy(&["resume", run])?.expect_code(2)?;
    plain
        .expect_text("the plugin `version-check`")?
        .expect_text("--project FILE")?;
    std::fs::rename(&away, &project)?;
    ensure!(site.head()? == head, "the refused resume has changed it");
    std::fs::write(&wasm, built)?;
    site.vdeploy(&["resume", run])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    crate::e2e::hold::lease_is_free(&site)
}

/// A run that is resumed by somebody who has another token.
fn other_token(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let cut = kill_deploy(&site, &[], begins("npm-build", "run"))?;
    let mut command = site.command(&["resume", &cut.run]);
    command.env("VERS_AUTH_TOKEN", "another-token-of-somebody");
    vdeploy_tests::Ran::from(command.output()?)
        .expect_code(11)?
        .expect_text("it has another token")?
        .expect_text("never stopped")?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    ensure!(
        site.get(&site.vm, "/board/tasks", Some(vdeploy_tests::base::TOKEN))?
            .0
            == 200
    );
    site.deploy(&QUICK)?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    Ok(())
}

/// Killed when everything was changed already.
fn same_end(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.write_project("[plans.default]\nextends = \"default\"\ndrop = [\"announce\"]\n")?;
    site.remote.push_variant("good-v2")?;
    let mut snapshot = None;
    let cut = kill_deploy(&site, &[], |event| {
        if kind(event) == "snapshot-taken" {
            snapshot = text(event, "snapshot").ok();
        }
        begins("smoke", "run")(event)
    })?;
    let snapshot = snapshot.context("no snapshot was taken")?;
    // At once, although the lease of the dead process still holds.
    state_is(&site, &cut.run, "killed")?;
    site.vdeploy(&["resume", &cut.run])?
        .expect_code(0)?
        .expect_text("done: the live version is verified\n")?
        .expect_text("live      the result of this run, verified\n")?
        .expect_text(&format!("snapshot  {snapshot}\n"))?;
    site.vdeploy(&["runs", "show", &cut.run])?
        .expect_code(0)?
        .expect_text(&format!("{snapshot} (before the changes)"))?;

    let command = site.command(&["rollback", &cut.run, "--json"]);
    let back = kill_when(command, begins("smoke-after-rollback", "run"))?;
    site.vdeploy(&["resume", &back.run])?
        .expect_code(0)?
        .expect_text("rolled back: the previous version is live and verified\n")?
        .expect_text("live      the previous version, verified\n")?
        .expect_text("snapshot  ")?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    state_is(&site, &back.run, "reverted")?;
    state_is(&site, &cut.run, "undone")
}

/// Its state in the list and where it is shown.
fn state_is(site: &Site<'_>, run: &str, state: &str) -> Result<()> {
    let shown = site.vdeploy(&["runs", "show", run, "--json"])?;
    let shown: Value = serde_json::from_str(&shown.expect_code(0)?.stdout)?;
    let list = site.vdeploy(&["runs", "list", "--json"])?;
    let list: Value = serde_json::from_str(&list.expect_code(0)?.stdout)?;
    let runs = list.get("runs").and_then(Value::as_array);
    let id = |found: &&Value| found.get("id").and_then(Value::as_str) == Some(run);
    let listed = runs.and_then(|runs| runs.iter().find(id));
    for seen in [listed, Some(&shown)] {
        let found = seen.and_then(|seen| seen.get("state"));
        ensure!(
            found.and_then(Value::as_str) == Some(state),
            "{found:?} instead of {state}: {list}"
        );
    }
    Ok(())
}

const QUICK: [&str; 2] = ["--set", "smoke.stable-seconds=0"];

/// Killed while the build runs, which goes on; its process.
fn killed_in_the_build(site: &Site<'_>, world: &Counted<'_, '_>) -> Result<(Cut, String)> {
    builds::push_waiting(site)?;
    let mut pid = None;
    let cut = kill_deploy(site, &[], builds::waits(world, &mut pid))?;
    Ok((cut, pid.context("the build never ran")?))
}

fn rolled_back(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    let world = Counted::new(&site)?;
    let (cut, pid) = killed_in_the_build(&site, &world)?;
    let counts = world.counts(&site.vm)?;
    let run = &cut.run;
    let wait = ["--wait", "60"];
    let mut args = vec!["run", "--json"];
    args.extend(wait);
    let beside = site.vdeploy(&args)?.expect_code(3)?;
    let end = beside.event("run-finished")?;
    ensure!(
        text(&end, "blocking-run")? == *run,
        "what is live is not known"
    );
    let message = text(&end, "message")?;
    for way in ["resume", "rollback", "abandon"] {
        let way = format!("vdeploy {way} {run}");
        ensure!(message.contains(&way), "no `{way}` in {message}");
    }
    ensure!(
        message.contains("interrupted in step `npm-build`"),
        "{message}"
    );
    ensure!(world.counts(&site.vm)? == counts, "something was touched");
    ensure!(still_waits(&pid), "the refused run has ended the build");

    // The lease on the target outlives the one in the store; that of a dead
    // process is not waited for.
    site.vdeploy(&["rollback", run, "--json"])?
        .expect_code(0)?
        .expect_text(&format!("ending what run {run}"))?;
    ensure!(!still_waits(&pid), "the build of the killed run still runs");
    ensure!(site.head()? == before, "the old commit is not checked out");
    ensure!(site.version().as_deref() == Some("1.0.0"));
    state_is(&site, run, "undone")?;
    // It is settled.
    site.vdeploy(&["resume", run])?
        .expect_code(2)?
        .expect_text("took its place")?;
    site.remote.push_variant("good-v2")?;
    site.deploy(&QUICK)?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    Ok(())
}

fn abandoned(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let (cut, pid) = killed_in_the_build(&site, &world)?;
    let run = &cut.run;
    site.vdeploy(&["abandon", run, "--reason", " "])?
        .expect_code(2)?;
    ensure!(still_waits(&pid), "it was ended without a reason");
    // Also before its lease has run out the ways are named.
    let beside = site.vdeploy(&["run", "--json"])?;
    ensure!([20, 3].contains(&beside.code), "{}", beside.text());
    let next = beside.event("run-finished")?;
    ensure!(
        next.get("next").and_then(|next| next.get(0))
            == Some(&format!("vdeploy resume {run}").into()),
        "{next}"
    );
    // The lease of the dead process is not waited for, neither in the store nor
    // on the target.
    let reason = "looked at it by hand";
    site.vdeploy(&["abandon", run, "--reason", reason])?
        .expect_code(0)?
        .expect_text(reason)?
        .expect_text("were ended")?
        .expect_text(&format!("job {run}/"))?;
    ensure!(!still_waits(&pid), "the build still runs");
    crate::e2e::hold::lease_is_free(&site)?;
    site.vdeploy(&["runs", "show", run])?
        .expect_code(0)?
        .expect_text("abandoned")?
        .expect_text(reason)?;
    let list = site.vdeploy(&["runs", "list"])?.expect_code(0)?;
    let line = list.stdout.lines().find(|line| line.contains(&**run));
    ensure!(
        line.is_some_and(|line| !line.contains("killed")),
        "{}",
        list.stdout
    );
    site.vdeploy(&["resume", run])?
        .expect_code(2)?
        .expect_text(&format!("it was abandoned: {reason}"))?;
    site.vdeploy(&["resume"])?
        .expect_code(2)?
        .expect_text("was interrupted")?;
    site.remote.push_variant("good-v2")?;
    let next = site.deploy(&QUICK)?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let next = text(&next.event("run-finished")?, "run")?;
    site.vdeploy(&["resume", &next])?
        .expect_code(2)?
        .expect_text("it has ended: deployed")?;
    Ok(())
}

/// No port of this machine: nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

fn abandoned_away(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let cut = kill_deploy(&site, &[], begins("restart", "run"))?;
    let run = &cut.run;
    site.write_platform_project(NOWHERE, "")?;
    site.vdeploy(&["abandon", run, "--reason", "the VM is gone"])?
        .expect_code(0)?
        .expect_text("could not be settled")?
        .expect_text("is ended before the next change")?;
    site.vdeploy(&["resume", run])?
        .expect_code(2)?
        .expect_text("the VM is gone")?;
    Ok(())
}

/// The run that was interrupted can be resumed as long as its rollback has not got
/// to the target.
fn rolled_back_away(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let cut = kill_deploy(&site, &[], begins("restart", "run"))?;
    let run = &cut.run;
    site.write_platform_project(NOWHERE, "")?;
    site.vdeploy(&["rollback", run, "--wait", "60"])?
        .expect_code(22)?;
    site.write_project("")?;
    site.vdeploy(&["resume", run])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    crate::e2e::hold::lease_is_free(&site)
}

/// A resume that finds the target held by another machine has not gone on: what
/// the run's jobs left there is kept for the next one.
fn held_elsewhere(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let (cut, pid) = killed_in_the_build(&site, &world)?;
    let run = &cut.run;
    let mut other = site.command(&["run", "--plan", "smoke", "--json", "--wait", "120"]);
    other.args(["--set", "smoke.stable-seconds=600"]);
    elsewhere(&mut other, &site);
    let mut other = UnderWay::until(other, begins("smoke", "run"))?;
    ensure!(!still_waits(&pid), "who took the target ends the build");
    let jobs = site.home(&site.vm)?.join(".vdeploy/jobs").join(run);
    ensure!(jobs.is_dir(), "{} is not there", jobs.display());
    site.vdeploy(&["resume", run])?
        .expect_code(20)?
        .expect_text("was not resumed; nothing changed")?;
    ensure!(jobs.is_dir(), "the refused resume has removed the jobs");
    other.signal("INT")?;
    other.end()?.expect_code(40)?;
    // What the build came to is found there, and it is not begun again.
    site.vdeploy(&["resume", run])?.expect_code(11)?;
    let counts = world.counts(&site.vm)?;
    ensure!(counts.get("npm run build") == Some(&1), "{counts:?}");
    ensure!(site.version().as_deref() == Some("1.0.0"));
    ensure!(!jobs.exists(), "{} is still there", jobs.display());
    crate::e2e::hold::lease_is_free(&site)
}
