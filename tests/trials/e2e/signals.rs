//! A host that is stopped, cancelled or left alone by its terminal.

use crate::e2e::Add;
use crate::e2e::builds;
use crate::e2e::counted::Counted;
use crate::e2e::hold::elsewhere;
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use vdeploy_tests::binary::run;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "signals::a_stopped_run_changes_nothing_after_its_lease",
        stopped,
    );
    crate::e2e::test(
        add,
        "signals::a_stopped_run_is_fenced_by_the_target_itself",
        stopped_elsewhere,
    );
    crate::e2e::test(
        add,
        "signals::a_second_signal_leaves_at_once_with_a_whole_journal",
        cancelled,
    );
    crate::e2e::test(
        add,
        "signals::a_hangup_and_a_closed_stdout_do_no_harm",
        left_alone,
    );
}

const BUILD: &str = "\"step\":\"npm-build\",\"section\":\"steps\",\"phase\":\"run\"";

fn send(signal: &str, pid: u32) -> Result<()> {
    run(Command::new("kill").args([signal, &pid.to_string()]))?;
    Ok(())
}

/// A default run, as far as the line with `mark`.
fn run_until(site: &Site<'_>, mark: &str) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = site
        .command(&["run", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let came = lines.any(|line| line.is_ok_and(|l| l.contains(mark)));
    ensure!(came, "`{mark}` never came");
    Ok((child, lines))
}

fn rest(mut child: Child, lines: Lines<BufReader<ChildStdout>>) -> Result<Ran> {
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(Ran {
        code: child.wait()?.code().unwrap_or(-1),
        stdout: lines.join("\n"),
        stderr: String::new(),
    })
}

/// Stopped in the middle of a build for longer than its lease, while another
/// run deploys something else.
fn second_while_stopped(base: &Base, away: bool) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let (first, lines) = run_until(&site, BUILD)?;
    send("-STOP", first.id())?;
    let again = ["run", "--json", "--wait", "300"];
    let mut second = site.command(&again);
    if away {
        elsewhere(&mut second, &site);
    } else {
        // Where the journal of the first one is known, a word is needed.
        site.vdeploy(&again)?
            .expect_code(3)?
            .expect_text("vdeploy resume")?;
        site.vdeploy(&["abandon", "--reason", "stopped"])?
            .expect_code(0)?;
    }
    let second = Ran::from(second.output()?);
    let before = (site.head()?, site.version());
    send("-CONT", first.id())?;
    let first = rest(first, lines)?;
    second.expect_code(0)?;
    first.expect_code(40)?.expect_text("lost")?;
    ensure!((site.head()?, site.version()) == before, "{before:?}");
    ensure!(site.version().as_deref() == Some("2.0.0"), "{before:?}");
    crate::e2e::hold::lease_is_free(&site)
}

fn stopped(base: &Base) -> Result<()> {
    second_while_stopped(base, false)
}

fn stopped_elsewhere(base: &Base) -> Result<()> {
    second_while_stopped(base, true)
}

/// The second signal comes after the first one was heard.
fn cancelled(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    builds::push_waiting(&site)?;
    let mut pid = None;
    let command = site.command(&["run", "--json"]);
    let mut first = UnderWay::until(command, builds::waits(&world, &mut pid))?;
    first.signal("INT")?;
    first.until_it_says("once more to leave at once")?;
    first.signal("TERM")?;
    let ran = first.end()?.expect_code(40)?.expect_text("left at once")?;
    // A program that reads the events is told too.
    let last = ran.stdout.lines().last().context("nothing on stdout")?;
    let last: Value = serde_json::from_str(last)?;
    ensure!(last.get("type").is_some_and(|t| t == "error"), "{last}");
    ensure!(last.get("exit-code").is_some_and(|c| c == 40), "{last}");
    crate::e2e::ci_cancels::whole(&site, &first.run, None)
}

/// The terminal is closed, and nobody reads any more.
fn left_alone(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let (mut first, lines) = run_until(&site, "\"step-started\"")?;
    drop(lines);
    send("-HUP", first.id())?;
    ensure!(first.wait()?.code() == Some(0), "it did not go on");
    ensure!(site.version().as_deref() == Some("2.0.0"));
    crate::e2e::hold::lease_is_free(&site)
}
