//! One run a target, and what a signal does.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use vdeploy_tests::base::wait_for;
use vdeploy_tests::binary::run;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "hold::a_second_run_is_refused_with_the_holders_name",
        second_run,
    );
    crate::e2e::test(
        add,
        "hold::a_runner_that_shares_nothing_is_refused_by_the_target",
        other_runner,
    );
    crate::e2e::test(
        add,
        "hold::a_killed_run_costs_another_runner_seconds",
        killed_elsewhere,
    );
    crate::e2e::test(
        add,
        "hold::ctrl_c_before_a_change_leaves_the_target_alone",
        interrupt,
    );
    crate::e2e::test(
        add,
        "hold::ctrl_c_during_a_change_brings_the_old_version_back",
        interrupt_build,
    );
}

fn second_run(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (first, lines) = begun(&site, 600)?;
    let second = site.vdeploy(&["run", "--plan", "smoke"])?;
    stopped(first, lines)?;
    second.expect_code(20)?.expect_text("held")?;
    lease_is_free(&site)
}

/// Starts a default run, sends INT when a line contains `mark`, returns the end.
fn interrupted_at(site: &Site<'_>, mark: &str) -> Result<Ran> {
    let mut child = site
        .command(&["run", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| anyhow::anyhow!("no stdout"))?;
    let mut seen = String::new();
    let mut sent = false;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if !sent && line.contains(mark) {
            run(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]))?;
            sent = true;
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    let status = child.wait()?;
    ensure!(sent, "`{mark}` never came:\n{seen}");
    Ok(Ran {
        code: status.code().unwrap_or(-1),
        stdout: seen,
        stderr: String::new(),
    })
}

fn interrupt(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    site.remote.push_variant("good-v2")?;
    interrupted_at(&site, "\"phase\":\"check\"")?.expect_code(40)?;
    ensure!(site.head()? == before && site.version().as_deref() == Some("1.0.0"));
    lease_is_free(&site)
}

fn interrupt_build(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    site.remote.push_variant("good-v2")?;
    let mark = "\"step\":\"npm-build\",\"section\":\"steps\",\"phase\":\"run\"";
    interrupted_at(&site, mark)?.expect_code(11)?;
    ensure!(site.head()? == before && site.version().as_deref() == Some("1.0.0"));
    lease_is_free(&site)
}

/// A place of its own for state: what another CI runner has.
pub fn elsewhere(command: &mut Command, site: &Site<'_>) {
    command.env("VDEPLOY_STATE", site.dir().join("state-elsewhere"));
}

/// What a run prints, line by line.
pub type Events = Lines<BufReader<ChildStdout>>;

/// A run that looks for long enough, begun: its first step runs.
pub fn begun(site: &Site<'_>, seconds: u32) -> Result<(Child, Events)> {
    let mut child = site
        .command(&["run", "--plan", "smoke", "--json", "--set"])
        .arg(format!("smoke.stable-seconds={seconds}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let started = lines.any(|line| line.is_ok_and(|l| l.contains("step-started")));
    ensure!(started, "the first run never began");
    Ok((child, lines))
}

/// Stops a run that only looks: it ends as interrupted.
pub fn stopped(mut child: Child, events: Events) -> Result<()> {
    run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    events.for_each(drop);
    let code = child.wait()?.code();
    ensure!(code == Some(40), "the stopped run ended with {code:?}");
    Ok(())
}

pub fn smoke_elsewhere(site: &Site<'_>, more: &[&str]) -> Result<Ran> {
    let args = ["run", "--plan", "smoke", "--set", "smoke.stable-seconds=0"];
    let mut command = site.command(&args);
    elsewhere(&mut command, site);
    Ok(command.args(more).output()?.into())
}

/// [`lease_is_free`] for runs of another machine, which know nothing of this
/// one's state.
pub fn lease_is_free_elsewhere(site: &Site<'_>) -> Result<()> {
    smoke_elsewhere(site, &[])?.expect_code(0)?;
    Ok(())
}

/// Nobody holds the target: a plan that only looks is not refused.
pub fn lease_is_free(site: &Site<'_>) -> Result<()> {
    site.vdeploy(&["run", "--plan", "smoke", "--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    Ok(())
}

/// Two runners that share nothing but the VM.
fn other_runner(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (first, lines) = begun(&site, 600)?;
    let pid = format!("pid {}", first.id());
    let refused = smoke_elsewhere(&site, &[])?;
    let dry = smoke_elsewhere(&site, &["--dry-run"])?;
    stopped(first, lines)?;
    refused
        .expect_code(20)?
        .expect_text("is held by run")?
        .expect_text(&pid)?
        .expect_text("unless the run renews it")?;
    dry.expect_code(0)?
        .expect_text("A dry run only looks")?
        .expect_text(&pid)?;
    smoke_elsewhere(&site, &[])?.expect_code(0)?;
    lease_is_free(&site)
}

/// A killed run costs the other runner its ttl and not more.
fn killed_elsewhere(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (mut first, _lines) = begun(&site, 600)?;
    site.vdeploy(&["resume", "latest"])?
        .expect_code(20)?
        .expect_text(&format!("its process {} runs on this machine", first.id()))?;
    first.kill()?;
    first.wait()?;
    smoke_elsewhere(&site, &[])?
        .expect_code(20)?
        .expect_text(&format!("there is no process {} on this", first.id()))?
        .expect_text("Its lease ends in")?;
    let limit = Duration::from_secs(120);
    let next = wait_for("the lease of a dead run", limit, || {
        let ran = smoke_elsewhere(&site, &[]);
        match &ran {
            Ok(ran) if ran.code == 20 => None,
            _ => Some(ran),
        }
    })?;
    next?.expect_code(0)?;
    Ok(())
}
