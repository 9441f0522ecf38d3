//! One run a target, and what a signal does.

use crate::Add;
use anyhow::{Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use vdeploy_tests::binary::run;
use vdeploy_tests::{Base, Ran};

pub fn add(add: &mut Add<'_>) {
    crate::test(
        add,
        "hold::a_second_run_is_refused_with_the_holders_name",
        second_run,
    );
    crate::test(
        add,
        "hold::ctrl_c_before_a_change_leaves_the_target_alone",
        interrupt,
    );
    crate::test(
        add,
        "hold::ctrl_c_during_a_change_brings_the_old_version_back",
        interrupt_build,
    );
}

fn second_run(base: &Base) -> Result<()> {
    let site = base.site()?;
    let mut first = site
        .command(&[
            "run",
            "--plan",
            "smoke",
            "--json",
            "--set",
            "smoke.stable-seconds=4",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(
        first
            .stdout
            .take()
            .into_iter()
            .next()
            .ok_or_else(|| anyhow::anyhow!("no stdout"))?,
    )
    .lines();
    let started = lines.any(|line| line.is_ok_and(|l| l.contains("step-started")));
    ensure!(started, "the first run never began");
    let second = site.vdeploy(&["run", "--plan", "smoke"])?;
    for _ in lines.by_ref() {}
    let code = first.wait()?.code();
    second.expect_code(20)?.expect_text("held")?;
    ensure!(code == Some(0), "the first run ended with {code:?}");
    crate::variants::lease_is_free(&site)
}

/// Starts a default run, sends INT when a line contains `mark`, returns the end.
fn interrupted_at(site: &vdeploy_tests::Site<'_>, mark: &str) -> Result<Ran> {
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
    crate::variants::lease_is_free(&site)
}

fn interrupt_build(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    site.remote.push_variant("good-v2")?;
    let mark = "\"step\":\"npm-build\",\"section\":\"steps\",\"phase\":\"run\"";
    interrupted_at(&site, mark)?.expect_code(11)?;
    ensure!(site.head()? == before && site.version().as_deref() == Some("1.0.0"));
    crate::variants::lease_is_free(&site)
}
