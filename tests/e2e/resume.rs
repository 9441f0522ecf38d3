//! What becomes of a run that was cut off: nothing is begun beside it, and it
//! is gone on with, rolled back or abandoned.

use crate::Add;
use crate::counted::Counted;
use crate::cut::{Cut, begins, kill_deploy, kind};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use vdeploy_tests::base::{text, wait_for};
use vdeploy_tests::binary::run;
use vdeploy_tests::{Base, Site};

pub fn add(add: &mut Add<'_>) {
    let mut test = |name: &str, test| crate::test(add, &format!("resume::{name}"), test);
    test(
        "beside_a_run_that_was_cut_off_nothing_begins_and_a_rollback_ends_its_build",
        rolled_back,
    );
    test("plugins_of_other_bytes_do_not_go_on_with_it", other_bytes);
    test("an_abandoned_run_makes_way_and_says_why", abandoned);
    test(
        "ci_cancels_with_three_signals_and_the_run_is_resumed",
        ci_cancels,
    );
}

/// A plugin of the project is built anew between the crash and the resume.
fn other_bytes(base: &Base) -> Result<()> {
    let site = base.site()?;
    let wasm = site.dir().join("version-check.wasm");
    let built = std::fs::read(crate::plugins::component("version-check")?)?;
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
    ensure!(site.head()? == head, "the refused resume has changed it");
    std::fs::write(&wasm, built)?;
    site.vdeploy(&["resume", run])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    crate::variants::lease_is_free(&site)
}

const QUICK: [&str; 2] = ["--set", "smoke.stable-seconds=0"];

/// A version whose build never ends.
fn push_endless_build(site: &Site<'_>) -> Result<()> {
    let package = vdeploy_tests::fixtures().join("agent-services/package.json");
    let package = std::fs::read_to_string(package)?;
    let endless = package.replace("\"build\": \"tsc\"", "\"build\": \"node endless.js\"");
    ensure!(endless != package, "{package}");
    let script = "setInterval(() => {}, 1000);\n";
    let files = [("package.json", &*endless), ("endless.js", script)];
    site.remote.push_files("endless", &files)?;
    Ok(())
}

/// Killed while the build runs, which goes on; its process.
fn killed_in_the_build(site: &Site<'_>, world: &Counted<'_, '_>) -> Result<(Cut, String)> {
    push_endless_build(site)?;
    let mut pid = None;
    let cut = kill_deploy(site, &[], |event| {
        let action = event.get("action").and_then(Value::as_str).unwrap_or("");
        if kind(event) == "call-started" && action.contains("npm run build") {
            let limit = Duration::from_secs(60);
            pid = wait_for("the build", limit, || world.process("endless.js")).ok();
            return true;
        }
        false
    })?;
    Ok((cut, pid.context("the build never ran")?))
}

fn runs(pid: &str) -> bool {
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
    command.is_ok_and(|command| command.contains("endless.js"))
}

fn rolled_back(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    let world = Counted::new(base, &site)?;
    let (cut, pid) = killed_in_the_build(&site, &world)?;
    let counts = world.counts(&site.vm)?;
    let run = &cut.run;
    let wait = ["--wait", "60"];
    let mut args = vec!["run", "--json"];
    args.extend(wait);
    let beside = site.vdeploy(&args)?.expect_code(3)?;
    let end = beside.event("run-finished")?;
    let message = text(&end, "message")?;
    for way in ["resume", "rollback", "abandon"] {
        let way = format!("vdeploy {way} {run}");
        ensure!(message.contains(&way), "no `{way}` in {message}");
    }
    ensure!(message.contains("cut off in step `npm-build`"), "{message}");
    ensure!(world.counts(&site.vm)? == counts, "something was touched");
    ensure!(runs(&pid), "the refused run has ended the build");

    let mut args = vec!["rollback", run, "--json"];
    args.extend(wait);
    site.vdeploy(&args)?
        .expect_code(0)?
        .expect_text(&format!("ending what run {run}"))?;
    ensure!(!runs(&pid), "the build of the killed run still runs");
    ensure!(site.head()? == before, "the old commit is not checked out");
    ensure!(site.version().as_deref() == Some("1.0.0"));
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
    site.remote.push_variant("good-v2")?;
    let cut = kill_deploy(&site, &[], begins("restart", "run"))?;
    let run = &cut.run;
    site.vdeploy(&["abandon", run, "--reason", " "])?
        .expect_code(2)?;
    let reason = "looked at it by hand";
    // The dead process holds the target until its lease ends.
    let limit = Duration::from_secs(60);
    let ran = wait_for("the lease of a dead run", limit, || {
        let ran = site.vdeploy(&["abandon", run, "--reason", reason]);
        match &ran {
            Ok(ran) if ran.code == 20 => None,
            _ => Some(ran),
        }
    })?;
    ran?.expect_code(0)?.expect_text(reason)?;
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
        .expect_text("was cut off")?;
    let next = site
        .deploy(&["--set", "smoke.stable-seconds=0", "--wait", "60"])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let next = text(&next.event("run-finished")?, "run")?;
    site.vdeploy(&["resume", &next])?
        .expect_code(2)?
        .expect_text("it has ended: deployed")?;
    Ok(())
}

/// INT, TERM, KILL, as a CI runner does to a job that is cancelled.
fn ci_cancels(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    let world = Counted::new(base, &site)?;
    site.remote.push_variant("good-v2")?;
    let mut child = site
        .command(&["run", "--json", "--set", "smoke.stable-seconds=0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let (mut run_id, mut begun) = (None, false);
    let begins = begins("npm-build", "run");
    for line in lines.by_ref() {
        let event: Value = serde_json::from_str(&line?)?;
        if kind(&event) == "run-started" {
            run_id = Some(text(&event, "run")?);
        }
        begun = begins(&event);
        if begun {
            break;
        }
    }
    ensure!(begun, "the build never began");
    for signal in ["-INT", "-TERM", "-KILL"] {
        let sent = run(Command::new("kill").args([signal, &child.id().to_string()]));
        // It may have left at the second one.
        if child.try_wait()?.is_some() {
            break;
        }
        sent?;
    }
    drop(lines);
    child.wait()?;
    let run_id = run_id.context("no run began")?;
    let ran = site.vdeploy(&["resume", &run_id, "--json"])?;
    let (live, head) = (site.version(), site.head()?);
    // A stop that was heard is kept to: the run goes back.
    match ran.code {
        0 => ensure!(live.as_deref() == Some("2.0.0") && head != before),
        11 => ensure!(live.as_deref() == Some("1.0.0") && head == before),
        _ => {
            // The first signal alone had ended it.
            let ran = ran
                .expect_code(2)?
                .expect_text("it has ended: rolled-back")?;
            ensure!(
                live.as_deref() == Some("1.0.0") && head == before,
                "{ran:?}"
            );
        }
    }
    world.no_build_runs()?;
    crate::variants::lease_is_free(&site)
}
