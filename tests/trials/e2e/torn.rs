//! What a disk has lost or spoilt of the store: the end of its write-ahead log
//! after a crash, bytes in the middle of the database.
//!
//! A run is killed, its log is cut, and the run is resumed. What is lost
//! is decided by the journal that the cut log still gives, so each test knows
//! what must come of it.

use crate::e2e::Add;
use crate::e2e::counted::Counted;
use crate::e2e::cut::{Cut, begins, kill_when, kind};
use crate::e2e::gated::{Gate, NEW, deploy, done_once};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    let mut test = |name: &str, test| crate::e2e::test(add, &format!("torn::{name}"), test);
    test("every_cut_leaves_a_journal_that_ends_earlier", every_cut);
    test("a_lost_result_is_in_doubt_and_settled", lost_result);
    test("a_lost_snapshot_is_found_again", lost_snapshot);
    test("a_lost_intent_is_said_and_the_run_goes_back", lost_intent);
    test("a_damaged_database_is_named_with_what_to_do", damaged);
}

const DB: &str = "vdeploy.db";
const LOG: &str = "vdeploy.db-wal";

/// A killed run, its state directory, and its whole journal.
struct Killed<'s, 'b> {
    site: &'s Site<'b>,
    cut: Cut,
    journal: Vec<Value>,
    /// Of the log: all of it, its head, and a frame.
    sizes: (u64, u64, u64),
}

impl<'s, 'b> Killed<'s, 'b> {
    fn when(site: &'s Site<'b>, now: impl FnMut(&Value) -> bool) -> Result<Self> {
        Gate::push(site)?.open()?;
        let cut = kill_when(deploy(site), now)?;
        let mut log = File::open(site.state().join(LOG))?;
        let mut head = [0; 32];
        log.read_exact(&mut head)?;
        let page = head.get(8..12).context("a short head")?;
        let page = u32::from_be_bytes(page.try_into()?);
        let mut killed = Self {
            site,
            cut,
            journal: Vec::new(),
            sizes: (log.metadata()?.len(), 32, 24 + u64::from(page)),
        };
        let all = killed.sizes.0;
        killed.journal = killed.cut_to(all)?.context("the run is not in its store")?;
        Ok(killed)
    }

    /// The journal that the store would have with a log of this length. The
    /// store itself is not touched.
    fn cut_to(&self, length: u64) -> Result<Option<Vec<Value>>> {
        let copy = self.site.dir().join("state-copy");
        drop(std::fs::remove_dir_all(&copy));
        std::fs::create_dir(&copy)?;
        for name in [DB, LOG] {
            std::fs::copy(self.site.state().join(name), copy.join(name))?;
        }
        truncate(&copy.join(LOG), length)?;
        let mut show = self
            .site
            .command(&["runs", "show", &self.cut.run, "--json"]);
        let ran = Ran::from(show.env("VDEPLOY_STATE", &copy).output()?);
        if ran.code == 2 {
            ran.expect_text(&format!("no run `{}`", self.cut.run))?;
            return Ok(None);
        }
        let shown: Value = serde_json::from_str(&ran.expect_code(0)?.stdout)?;
        let journal = shown.get("journal").and_then(Value::as_array);
        Ok(Some(journal.context("no journal")?.clone()))
    }

    /// Cuts the log in the middle of a frame, so that the journal ends with the
    /// newest entry before number `end` that was written on its own.
    fn tear(&self, end: usize) -> Result<Vec<Value>> {
        let (all, head, frame) = self.sizes;
        let (mut fits, mut too_long) = (0, (all - head).div_ceil(frame));
        while too_long - fits > 1 {
            let middle = fits + (too_long - fits) / 2;
            let journal = self.cut_to(head + middle * frame)?;
            match journal.is_none_or(|journal| journal.len() <= end) {
                true => fits = middle,
                false => too_long = middle,
            }
        }
        let length = head + fits * frame + frame / 3;
        let journal = self.cut_to(length)?.context("the run is lost")?;
        ensure!(
            length < all && journal.len() <= end,
            "{} of {end}",
            journal.len()
        );
        truncate(&self.site.state().join(LOG), length)?;
        Ok(journal)
    }

    /// The number of the last intent of this function.
    fn last_intent(&self, function: &str) -> Result<usize> {
        let is = |stored: &Value| {
            word(stored, "entry") == "intent" && word(stored, "function") == function
        };
        let last = self.journal.iter().rposition(is);
        Ok(last.with_context(|| format!("no intent of {function}"))? + 1)
    }

    fn resume(&self) -> Result<Ran> {
        self.site.vdeploy(&["resume", &self.cut.run, "--json"])
    }
}

fn word<'v>(stored: &'v Value, key: &str) -> &'v str {
    let entry = stored.get("entry").and_then(|entry| entry.get(key));
    entry.and_then(Value::as_str).unwrap_or("")
}

fn truncate(file: &Path, length: u64) -> Result<()> {
    Ok(File::options().write(true).open(file)?.set_len(length)?)
}

fn every_cut(base: &Base) -> Result<()> {
    let site = base.site()?;
    let killed = Killed::when(&site, begins("restart", "run"))?;
    let (all, head, frame) = killed.sizes;
    let mut lengths = vec![
        0,
        1,
        head - 1,
        head,
        head + 1,
        all - 1,
        all - 24,
        all - frame,
    ];
    lengths.extend((1..=24).map(|part| all * part / 25 + part));
    lengths.sort_unstable();
    let (mut before, mut different) = (0, 0);
    for length in lengths {
        let cut = killed
            .cut_to(length)
            .with_context(|| format!("cut to {length}"))?;
        let cut = cut.unwrap_or_default();
        let same = killed.journal.get(..cut.len()) == Some(&cut[..]);
        ensure!(same, "cut to {length} it is another journal: {cut:?}");
        ensure!(cut.len() >= before, "cut to {length} it is shorter");
        different += usize::from(cut.len() > before);
        before = cut.len();
    }
    ensure!(different > 5, "the cuts made no difference");
    Ok(())
}

/// The service is started; that this went well is lost, that it was begun is
/// not.
fn lost_result(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let killed = Killed::when(&site, begins("smoke", "run"))?;
    let intent = killed.last_intent("ssh.exec")?;
    ensure!(killed.journal.len() > intent, "its result is not there");
    let left = killed.tear(intent)?;
    ensure!(left.len() == intent, "{} entries of {intent}", left.len());
    let ran = killed.resume()?.expect_code(0)?;
    let resumed = ran.event("run-resumed")?;
    ensure!(resumed.get("in-doubt") == Some(&1.into()), "{resumed}");
    done_once(base, &world, &site)
}

/// The snapshot stands, and nothing of it is in the journal.
fn lost_snapshot(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let killed = Killed::when(&site, |event| kind(event) == "snapshot-taken")?;
    let intent = killed.last_intent("snapshot.create")?;
    killed.tear(intent - 1)?;
    killed.resume()?.expect_code(0)?;
    done_once(base, &world, &site)
}

/// Commands were run of which the journal knows nothing: what was decided from
/// their results is lost too.
fn lost_intent(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.add_task("keep me")?;
    let world = Counted::new(&site)?;
    let killed = Killed::when(&site, begins("smoke", "run"))?;
    let intent = killed.last_intent("ssh.exec")?;
    killed.tear(intent - 1)?;
    let counts = world.counts(&site.vm)?;
    let run = &killed.cut.run;
    for _ in 0..2 {
        let ran = killed.resume()?.expect_code(40)?;
        ran.expect_text("the end of its journal is lost")?
            .expect_text(&format!("vdeploy rollback {run}"))?
            .expect_text(&format!("vdeploy abandon {run}"))?;
    }
    ensure!(world.counts(&site.vm)? == counts, "something was touched");
    ensure!(site.version().as_deref() == Some(NEW));
    site.vdeploy(&["rollback", run, "--wait", "120", "--json"])?
        .expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    crate::e2e::hold::lease_is_free(&site)
}

/// Writes over a part of a file.
fn spoil(file: &Path, from: u64, until: u64) -> Result<()> {
    let mut file = File::options().write(true).open(file)?;
    file.seek(SeekFrom::Start(from))?;
    for _ in (from..until).step_by(4) {
        file.write_all(b"\xa5oh\0")?;
    }
    Ok(())
}

/// What is spoilt, how, and what is said of it.
type Way<'a> = (&'static str, &'a dyn Fn() -> Result<()>, &'static str);

fn damaged(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    site.remote.push_variant("good-v2")?;
    let (head, counts) = (site.head()?, world.counts(&site.vm)?);
    let file = site.state().join(DB);
    let good = std::fs::read(&file)?;
    let size = good.len() as u64;
    let entry = |file: &PathBuf| -> Result<()> {
        let db = rusqlite::Connection::open(file)?;
        db.execute_batch("UPDATE run SET record = '{'; UPDATE run SET outcome = 'good'")?;
        Ok(())
    };
    let ways: [Way<'_>; 4] = [
        (
            "its head",
            &|| spoil(&file, 0, 100),
            "no state database of vdeploy",
        ),
        (
            "all but its first page",
            &|| spoil(&file, 4096, size),
            "the file is damaged",
        ),
        (
            "its end is missing",
            &|| truncate(&file, size / 2),
            "the file is damaged",
        ),
        ("its words", &|| entry(&file), "is damaged"),
    ];
    for (what, spoil, says) in ways {
        std::fs::write(&file, &good)?;
        spoil()?;
        let asked: [&[&str]; 4] = [
            &["run", "--json"],
            &["resume"],
            &["rollback"],
            &["runs", "list"],
        ];
        for args in asked {
            let ran = site.vdeploy(args)?;
            let told = ran.expect_code(1).and_then(|ran| ran.expect_text(says));
            let told = told.and_then(|ran| ran.expect_text(DB));
            told.with_context(|| format!("{what}: {args:?}"))?;
        }
    }
    ensure!(
        world.counts(&site.vm)? == counts && site.head()? == head,
        "something was touched"
    );
    // As it says: with an empty one a run begins anew.
    std::fs::remove_file(&file)?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    Ok(())
}
