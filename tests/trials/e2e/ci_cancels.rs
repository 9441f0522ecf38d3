//! What a CI runner does to a job that is cancelled: INT, 7.5 s later TERM, 2.5 s
//! later KILL, and what becomes of the run.

use crate::e2e::Add;
use crate::e2e::builds::{self, still_waits};
use crate::e2e::counted::{Counted, Counts};
use crate::e2e::cut::begins;
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::time::Duration;
use vdeploy_tests::{Base, Site};

/// So long the runner waits after INT; a run that is in a long call does not end
/// in it, however fast the machine is.
const AFTER_INT: Duration = Duration::from_millis(7_500);

/// So long an end may take here: what is shown is that it comes, and what with.
const PATIENCE: Duration = Duration::from_secs(120);

/// The signal that ends the run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Term,
    /// The machine gives the run no time to hear TERM.
    Kill,
}

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "ci_cancels::in_a_long_build_the_second_signal_ends_the_run_and_it_is_resumed",
        |base| busy(base, Last::Term),
    );
    crate::e2e::test(
        add,
        "ci_cancels::in_a_long_build_a_run_that_only_the_last_signal_ends_is_resumed",
        |base| busy(base, Last::Kill),
    );
    crate::e2e::test(
        add,
        "ci_cancels::before_a_change_the_first_signal_ends_the_run_and_it_is_resumed",
        idle,
    );
}

/// Sends the signals up to the last one; how it ended.
fn cancel(run: &mut UnderWay, last: Last) -> Result<ExitStatus> {
    run.signal("INT")?;
    let early = run.ended_within(AFTER_INT)?;
    ensure!(early.is_none(), "INT alone has ended it: {early:?}");
    if last == Last::Kill {
        run.signal("STOP")?;
    }
    run.signal("TERM")?;
    if last == Last::Kill {
        run.signal("KILL")?;
    }
    let ended = run.ended_within(PATIENCE)?;
    ended.context("it outlives the signals")
}

fn deploy(site: &Site<'_>) -> Command {
    site.command(&["run", "--json", "--set", "smoke.stable-seconds=0"])
}

/// No entry of the journal is missing, and the run has no end in it or this one.
pub fn whole(site: &Site<'_>, run: &str, end: Option<&str>) -> Result<()> {
    let shown = site.vdeploy(&["runs", "show", run, "--json"])?;
    let shown: Value = serde_json::from_str(&shown.expect_code(0)?.stdout)?;
    let journal = shown.get("journal").and_then(Value::as_array);
    let journal = journal.context("no journal")?;
    let numbered = journal
        .iter()
        .enumerate()
        .all(|(index, entry)| entry.get("seq").and_then(Value::as_u64) == Some(index as u64 + 1));
    ensure!(numbered && !journal.is_empty(), "{shown}");
    let last = journal
        .last()
        .and_then(|last| last.pointer("/entry/outcome"));
    ensure!(last.and_then(Value::as_str) == end, "{shown}");
    Ok(())
}

/// What happened once more.
fn added(before: &Counts, after: &Counts) -> Vec<(&'static str, usize)> {
    let more = |(name, count): (&&'static str, &usize)| {
        let more = count.saturating_sub(*before.get(name).unwrap_or(&0));
        (more > 0).then_some((*name, more))
    };
    after.iter().filter_map(more).collect()
}

/// A deploy that nobody disturbs, on a site of its own.
fn undisturbed(base: &Base) -> Result<Vec<(&'static str, usize)>> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let go = builds::push_waiting(&site)?;
    std::fs::write(go, "")?;
    let before = world.counts(&site.vm)?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    Ok(added(&before, &world.counts(&site.vm)?))
}

fn busy(base: &Base, last: Last) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let go = builds::push_waiting(&site)?;
    let before = world.counts(&site.vm)?;
    let mut pid = None;
    let mut run = UnderWay::until(deploy(&site), builds::waits(&world, &mut pid))?;
    let pid = pid.context("the build never ran")?;
    let status = cancel(&mut run, last)?;
    let ran = run.end()?.expect_text("stopping after the current call")?;
    match last {
        Last::Term => {
            ran.expect_code(40)?.expect_text("left at once")?;
        }
        Last::Kill => ensure!(status.signal() == Some(9), "{status}"),
    }
    whole(&site, &run.run, None)?;
    // The build is not of the process that was told to stop.
    ensure!(still_waits(&pid), "the build was ended");
    std::fs::write(go, "")?;
    site.vdeploy(&["resume", &run.run])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let done = added(&before, &world.counts(&site.vm)?);
    world.no_build_runs()?;
    crate::e2e::hold::lease_is_free(&site)?;
    ensure!(done == undisturbed(base)?, "{done:?}");
    Ok(())
}

fn idle(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    std::fs::write(builds::push_waiting(&site)?, "")?;
    let before = world.counts(&site.vm)?;
    let mut run = UnderWay::until(deploy(&site), begins("preflight", "run"))?;
    run.signal("INT")?;
    let ended = run.ended_within(PATIENCE)?;
    ensure!(ended.is_some(), "INT does not end it");
    run.end()?
        .expect_code(40)?
        .expect_text("the target is unchanged")?
        .expect_text("asked to stop: SIGINT")?;
    whole(&site, &run.run, Some("interrupted"))?;
    crate::e2e::hold::lease_is_free(&site)?;
    let done = added(&before, &world.counts(&site.vm)?);
    ensure!(done.is_empty(), "{done:?}");
    site.vdeploy(&["resume", &run.run])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let done = added(&before, &world.counts(&site.vm)?);
    crate::e2e::hold::lease_is_free(&site)?;
    ensure!(done == undisturbed(base)?, "{done:?}");
    Ok(())
}
