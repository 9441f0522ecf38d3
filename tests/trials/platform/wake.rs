//! A VM that does not run when a run begins: resumed, waited for, or named.

use crate::platform::Test;
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use vdeploy_tests::base::TOKEN;
use vdeploy_tests::platform::{Kind, World};

pub const TRIALS: &[Test] = &[
    (
        "wake::a_paused_vm_is_resumed_by_a_run_that_changes_it",
        paused,
    ),
    ("wake::a_booting_vm_is_waited_for", booting),
];

const SMOKE: &[&str] = &["run", "--plan", "smoke", "--set", "smoke.stable-seconds=0"];

fn paused(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    place.add_task("keep me")?;
    place.remote.push_variant("good-v2")?;
    place.pause()?;
    // One that only looks leaves it as it is.
    place
        .vdeploy(SMOKE)?
        .expect_code(22)?
        .expect_text("is paused; a run that may change the target resumes it")?;
    ensure!(place.state_of(place.vm) == Some("paused"));
    let dry = place.vdeploy(&["run", "--dry-run"])?.expect_code(22)?;
    ensure!(place.state_of(place.vm) == Some("paused"), "{}", dry.text());

    place
        .deploy(&["--set", "smoke.stable-seconds=1"])?
        .expect_code(0)?
        .expect_text("was paused and is resumed")?;
    ensure!(place.state_of(place.vm) == Some("running"));
    ensure!(place.version(place.vm).as_deref() == Some("2.0.0"));
    let (status, board) = place.get(place.vm, "/board/tasks", Some(TOKEN))?;
    ensure!(
        status == 200 && board.contains("keep me"),
        "{status} {board}"
    );
    Ok(())
}

fn booting(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    place.set_state("booting");
    let mut child = place
        .command(SMOKE)
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let waits = format!("waiting until VM {} runs", place.vm);
    let mut said = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if line.contains(&waits) && line.contains("it is booting") {
            place.set_state("running");
        }
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait()?;
    ensure!(status.code() == Some(0), "{status}:\n{said}");
    ensure!(said.contains(&waits), "it did not wait:\n{said}");
    ensure!(said.contains("waiting for SSH on"), "{said}");
    Ok(())
}
