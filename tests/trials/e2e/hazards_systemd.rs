//! Restarts where a real systemd keeps the service: which unit, which journal,
//! whose token, and a unit that flaps. One systemd and one cloud under it are
//! shared by these tests; each has a VM and a unit of its own.

use crate::shared::Shared;
use crate::trial::Trial;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use vdeploy_tests::base::{TOKEN, text, wait_for};
use vdeploy_tests::systemd::{Systemd, ensure_main};
use vdeploy_tests::{Base, Site};

/// Fields drop in their order: the cloud goes before its systemd.
struct World {
    base: Base,
    systemd: Systemd,
}

type Test = fn(&World) -> Result<()>;

const TESTS: [(&str, Test); 6] = [
    (
        "the_unit_is_restarted_and_no_second_process_started",
        restarted,
    ),
    (
        "a_unit_that_flaps_is_stopped_and_the_old_version_comes_back",
        flapping,
    ),
    ("a_unit_without_the_token_is_left_as_it_is", without_token),
    ("a_failed_unit_is_started_and_no_bare_process", failed_unit),
    (
        "a_foreign_unit_is_named_and_ended_only_by_a_word",
        foreign_unit,
    ),
    ("data_that_cannot_be_written_is_refused", read_only_data),
];

/// The trials; they fail with what to do where no systemd can be started.
pub fn trials() -> Vec<Trial> {
    let world = Shared::new(World::start);
    let make = |&(name, test): &(&str, Test)| {
        let world = world.clone();
        Trial::new(format!("hazards_systemd::{name}"), move || {
            test(world.get()?)
        })
    };
    TESTS.iter().map(make).collect()
}

impl World {
    fn start() -> Result<Self> {
        if let Some(lack) = Systemd::lack() {
            anyhow::bail!("no systemd can be started: {lack}");
        }
        let systemd = Systemd::start()?;
        let base = Base::start_in(Some(systemd.enter()))?;
        Ok(Self { base, systemd })
    }

    /// A site whose service a unit keeps: the name of the unit.
    fn site_with_unit(&self, more: &str) -> Result<(Site<'_>, String)> {
        let site = self.base.site()?;
        let unit = unit_name(&site);
        self.end_service(&site)?;
        self.write(&site, &unit, more)?;
        self.systemd.systemctl(&["start", &unit])?;
        site.wait_for_service()?;
        Ok((site, unit))
    }

    /// Writes the unit; its token is in a file of its own.
    fn write(&self, site: &Site<'_>, unit: &str, more: &str) -> Result<()> {
        let home = site.home(&site.vm)?;
        std::fs::write(home.join("token.env"), format!("VERS_AUTH_TOKEN={TOKEN}\n"))?;
        let node = vdeploy_tests::binary::find("node")?;
        let text = format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nWorkingDirectory={}\nEnvironment=PORT={}\n\
             ExecStart={} dist/server.js\nRestart=on-failure\nRestartSec=100ms\n{}\n",
            site.app_dir()?.display(),
            site.port()?,
            node.display(),
            more.replace("HOME", &home.display().to_string()),
        );
        self.systemd.write_unit(unit, &text)
    }

    /// Ends the bare process that came with the VM.
    fn end_service(&self, site: &Site<'_>) -> Result<()> {
        let pid = pid_of(site)?;
        self.systemd
            .command("kill")
            .args(["-KILL", &pid.to_string()])
            .status()?;
        wait_for(
            "the end of the bare process",
            Duration::from_secs(10),
            || site.version().is_none().then_some(()),
        )
    }
}

const WITH_TOKEN: &str = "EnvironmentFile=HOME/token.env";

fn unit_name(site: &Site<'_>) -> String {
    let begin = site.vm.get(..8).unwrap_or(&site.vm);
    format!("agent-services-{begin}.service")
}

/// The process on the port, as smoke sees it.
fn pid_of(site: &Site<'_>) -> Result<u64> {
    let ran = site.vdeploy(&[
        "run",
        "--plan",
        "smoke",
        "--json",
        "--set",
        "smoke.stable-seconds=0",
    ])?;
    output(&ran, "smoke")?
        .pointer("/service/pid")
        .and_then(Value::as_u64)
        .context("smoke names no process")
}

/// The output of a step of a run.
fn output(ran: &vdeploy_tests::Ran, step: &str) -> Result<Value> {
    let found = ran.events()?.into_iter().rev().find(|event| {
        event.get("step").and_then(Value::as_str) == Some(step) && event.get("output").is_some()
    });
    found
        .and_then(|event| event.get("output").cloned())
        .with_context(|| format!("no output of {step}:\n{}", ran.text()))
}

fn restarted(world: &World) -> Result<()> {
    let (site, unit) = world.site_with_unit(WITH_TOKEN)?;
    let before = world.systemd.property(&unit, "InvocationID")?;
    site.remote.push_variant("good-v2")?;
    let ran = site
        .deploy(&["--set", "smoke.stable-seconds=1"])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let restarted = output(&ran, "restart")?;
    ensure!(
        restarted.pointer("/service/unit") == Some(&Value::from(unit.as_str())),
        "{restarted}"
    );
    ensure!(
        text(&restarted, "log")? == format!("journal of {unit}"),
        "{restarted}"
    );
    let pid = restarted.pointer("/service/pid").and_then(Value::as_u64);
    ensure_main(&world.systemd, &unit, pid.context("no pid")?)?;
    ensure!(world.systemd.property(&unit, "InvocationID")? != before);
    // By the unit alone: nothing of ours was started beside it.
    ensure!(world.systemd.property(&unit, "NRestarts")? == "0");
    // And back again, by the unit too.
    site.vdeploy(&["rollback", "--json"])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    ensure!(world.systemd.property(&unit, "ActiveState")? == "active");
    Ok(())
}

fn flapping(world: &World) -> Result<()> {
    let (site, unit) = world.site_with_unit(WITH_TOKEN)?;
    site.remote.push_variant("crashes-at-start")?;
    let ran = site
        .deploy(&["--set", "smoke.stable-seconds=1"])?
        .expect_code(11)?;
    let message = text(&ran.event("run-finished")?, "message")?;
    // The lines of this start, from the service and from systemd.
    for word in [
        "step `restart`",
        "crashes-at-start",
        &format!("journal of {unit}"),
        "status=1",
    ] {
        ensure!(message.contains(word), "`{word}` is not in\n{message}");
    }
    ensure!(site.version().as_deref() == Some("1.0.0"), "{message}");
    ensure!(world.systemd.property(&unit, "ActiveState")? == "active");
    ensure!(
        world.systemd.property(&unit, "NRestarts")? == "0",
        "it flapped on"
    );
    Ok(())
}

fn without_token(world: &World) -> Result<()> {
    let (site, unit) = world.site_with_unit(WITH_TOKEN)?;
    let pid = world.systemd.property(&unit, "MainPID")?;
    // Somebody takes the token out of the unit; the process still has it.
    world.write(&site, &unit, "")?;
    site.remote.push_variant("good-v2")?;
    let ran = site.deploy(&[])?.expect_code(11)?;
    let message = text(&ran.event("run-finished")?, "message")?;
    for word in [
        "VERS_AUTH_TOKEN",
        "EnvironmentFile=",
        &format!("systemctl edit {unit}"),
    ] {
        ensure!(message.contains(word), "`{word}` is not in\n{message}");
    }
    ensure!(
        world.systemd.property(&unit, "MainPID")? == pid,
        "it was restarted"
    );
    ensure!(site.get(&site.vm, "/board/tasks", None)?.0 == 401);
    Ok(())
}

fn failed_unit(world: &World) -> Result<()> {
    let (site, unit) = world.site_with_unit(&format!("{WITH_TOKEN}\nRestart=no"))?;
    world.systemd.systemctl(&["kill", "--signal=KILL", &unit])?;
    let limit = Duration::from_secs(10);
    wait_for("the failure of the unit", limit, || {
        let state = world.systemd.property(&unit, "ActiveState").ok()?;
        (state == "failed").then_some(())
    })?;
    let ran = site
        .vdeploy(&[
            "run",
            "--plan",
            "restart",
            "--json",
            "--set",
            "smoke.stable-seconds=1",
        ])?
        .expect_code(0)?;
    let restarted = output(&ran, "restart")?;
    let pid = restarted.pointer("/service/pid").and_then(Value::as_u64);
    ensure_main(&world.systemd, &unit, pid.context("no pid")?)
}

fn foreign_unit(world: &World) -> Result<()> {
    let site = world.base.site()?;
    world.end_service(&site)?;
    let unit = format!("foreign-{}", unit_name(&site));
    let node = vdeploy_tests::binary::find("node")?;
    let script = site.home(&site.vm)?.join("foreign.js");
    std::fs::write(
        &script,
        "require('node:http').createServer((q, r) => r.end('mine')).listen(Number(process.env.PORT), '::')",
    )?;
    let text = format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nWorkingDirectory=/\nEnvironment=PORT={}\n\
         ExecStart={} {}\nRestart=always\nRestartSec=100ms\n",
        site.port()?,
        node.display(),
        script.display()
    );
    world.systemd.write_unit(&unit, &text)?;
    world.systemd.systemctl(&["start", &unit])?;
    let limit = Duration::from_secs(10);
    let answers = || {
        site.get(&site.vm, "/", None)
            .ok()
            .filter(|(_, body)| body == "mine")
    };
    wait_for("the foreign service", limit, answers)?;
    site.vdeploy(&["run"])?
        .expect_code(3)?
        .expect_text(&format!("systemd unit {unit}"))?
        .expect_text("foreign.js")?;
    ensure!(answers().is_some(), "it was ended without a word");
    site.deploy(&[
        "--set",
        "preflight.foreign-process=end",
        "--set",
        "smoke.stable-seconds=1",
    ])?
    .expect_code(0)?;
    ensure!(world.systemd.property(&unit, "ActiveState")? == "inactive");
    ensure!(site.version().as_deref() == Some("1.0.0"));
    Ok(())
}

/// Root may write everywhere, but not on a file system that is read-only.
fn read_only_data(world: &World) -> Result<()> {
    let site = world.base.site()?;
    let data = site.app_dir()?.join("data");
    let mount = |args: &[&str]| {
        vdeploy_tests::binary::run(world.systemd.command("mount").args(args).arg(&data))
    };
    mount(&["-t", "tmpfs", "-o", "ro", "tmpfs"])?;
    let refused = site.vdeploy(&["run"]);
    vdeploy_tests::binary::run(world.systemd.command("umount").arg(&data))?;
    refused?
        .expect_code(3)?
        .expect_text("data cannot be written")?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    Ok(())
}
