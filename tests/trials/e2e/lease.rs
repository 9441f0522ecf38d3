//! Who holds the target, waiting for it, and taking it away from a run.

use crate::e2e::Add;
use crate::e2e::builds::{self, still_waits};
use crate::e2e::counted::Counted;
use crate::e2e::hold::{Events, begun, elsewhere, smoke_elsewhere, stopped};
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use vdeploy_tests::binary::run;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "lease::a_broken_run_changes_nothing_more", broken);
    crate::e2e::test(
        add,
        "lease::a_run_of_another_machine_can_be_broken_too",
        broken_elsewhere,
    );
    crate::e2e::test(
        add,
        "lease::a_broken_run_that_was_stopped_is_fenced_and_its_build_ended",
        broken_while_stopped,
    );
    crate::e2e::test(add, "lease::a_run_waits_for_another_one", waits);
    crate::e2e::test(
        add,
        "lease::a_run_waits_for_one_of_another_machine",
        waits_elsewhere,
    );
    crate::e2e::test(add, "lease::a_wait_ends_with_its_time", waits_in_vain);
    crate::e2e::test(add, "lease::ctrl_c_ends_a_wait", wait_interrupted);
}

fn show(site: &Site<'_>, away: bool) -> Result<Value> {
    let mut command = site.command(&["lease", "show", "--json"]);
    if away {
        elsewhere(&mut command, site);
    }
    let ran = Ran::from(command.output()?).expect_code(0)?;
    Ok(serde_json::from_str(&ran.stdout)?)
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// Reads the rest of a run's events; the last message and the exit code.
fn rest(mut child: Child, lines: impl Iterator<Item = std::io::Result<String>>) -> Result<Ran> {
    let mut stdout = String::new();
    for line in lines {
        stdout.push_str(&line?);
        stdout.push('\n');
    }
    let code = child.wait()?.code().unwrap_or(-1);
    Ok(Ran {
        code,
        stdout,
        stderr: String::new(),
    })
}

fn broken(base: &Base) -> Result<()> {
    let site = base.site()?;
    let free = show(&site, false)?;
    ensure!(free.pointer("/held") == Some(&false.into()), "{free}");
    let (first, lines) = begun(&site, 600)?;
    let pid = first.id();
    let held = show(&site, false)?;
    let run = text(&held, "/store/run").to_owned();
    ensure!(
        !run.is_empty() && text(&held, "/on-target/run") == run,
        "{held}"
    );
    ensure!(text(&held, "/store/process") == "runs", "{held}");
    ensure!(
        held.pointer("/on-target/pid") == Some(&pid.into()),
        "{held}"
    );
    let told = site.vdeploy(&["lease", "show"])?.expect_code(0)?;
    told.expect_text("the target `infra` is held")?
        .expect_text(&format!("its process {pid} runs on this machine"))?;

    // Neither without a reason nor without a word where nobody can be asked.
    site.vdeploy(&["lease", "break", "--yes"])?.expect_code(2)?;
    site.vdeploy(&["lease", "break", "--yes", "--reason", " "])?
        .expect_code(2)?;
    site.vdeploy(&["lease", "break", "--reason", "x"])?
        .expect_code(2)?
        .expect_text("add `--yes`")?;
    let still = show(&site, false)?;
    ensure!(text(&still, "/store/run") == run, "{still}");

    let why = "its runner is gone";
    site.vdeploy(&["lease", "break", "--yes", "--reason", why])?
        .expect_code(0)?
        .expect_text(&format!("of run {run} was broken in the store"))?
        .expect_text(&format!("of run {run} was broken on the target"))?;
    let after = show(&site, false)?;
    ensure!(after.pointer("/held") == Some(&false.into()), "{after}");
    ensure!(text(&after, "/last-break/run") == run, "{after}");
    ensure!(text(&after, "/last-break/reason") == why, "{after}");
    rest(first, lines)?
        .expect_code(40)?
        .expect_text("the lease was lost")?
        .expect_text("gate.closed")?
        .expect_text("broke it")?
        .expect_text(why)?;
    site.vdeploy(&["runs", "show", &run])?
        .expect_code(0)?
        .expect_text("its lease was broken")?
        .expect_text(why)?;
    smoke_elsewhere(&site, &[])?.expect_code(0)?;
    Ok(())
}

fn broken_elsewhere(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (first, lines) = begun(&site, 600)?;
    let held = show(&site, true)?;
    ensure!(held.pointer("/store") == Some(&Value::Null), "{held}");
    ensure!(text(&held, "/on-target/state") == "held", "{held}");
    let run = text(&held, "/on-target/run").to_owned();
    let mut command = site.command(&["lease", "break", "--yes", "--reason", "cut it"]);
    elsewhere(&mut command, &site);
    Ran::from(command.output()?)
        .expect_code(0)?
        .expect_text(&format!("of run {run} was broken on the target"))?;
    let after = show(&site, true)?;
    ensure!(text(&after, "/last-break/run") == run, "{after}");
    rest(first, lines)?
        .expect_code(40)?
        .expect_text("lost the lease on the target")?
        .expect_text("(cut it) broke it")?;
    Ok(())
}

/// The holder is stopped in a build, its lease is broken, and another machine
/// deploys. The build goes on until then, and nothing of the holder after that.
fn broken_while_stopped(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let go = builds::push_waiting(&site)?;
    let mut pid = None;
    let deploy = ["run", "--json", "--set", "smoke.stable-seconds=0"];
    let mut first = UnderWay::until(site.command(&deploy), builds::waits(&world, &mut pid))?;
    let pid = pid.context("the build never ran")?;
    let run = first.run.clone();
    // A run that is running is not abandoned.
    let abandon = ["abandon", &run, "--reason", "x"];
    site.vdeploy(&abandon)?
        .expect_code(20)?
        .expect_text("is held by run")?;
    first.signal("STOP")?;
    site.vdeploy(&abandon)?
        .expect_code(20)?
        .expect_text(&format!("kill -CONT {}", first.pid()))?;
    let why = "its machine sleeps";
    site.vdeploy(&["lease", "break", "--yes", "--reason", why])?
        .expect_code(0)?
        .expect_text(&format!("of run {run} was broken on the target"))?;
    ensure!(still_waits(&pid), "the build was ended by the break");
    let mark = site.home(&site.vm)?.join(".vdeploy-lease/lost.");
    let mark = std::path::PathBuf::from(format!("{}{run}", mark.display()));
    ensure!(mark.is_symlink(), "{} is not there", mark.display());

    site.remote.push_variant("good-v2")?;
    let mut second = site.command(&deploy);
    elsewhere(&mut second, &site);
    let second = Ran::from(second.output()?).expect_code(0)?;
    let events = second.events()?;
    let at = |words: &str| {
        let is_it = |event: &Value| event.to_string().contains(words);
        let found = events.iter().position(is_it);
        found.with_context(|| format!("`{words}` never came:\n{}", second.stdout))
    };
    let ending = at(&format!("ending what run {run}"))?;
    ensure!(ending < at("\"change\":true")?, "it came after a change");
    ensure!(!still_waits(&pid), "the build of the broken run still runs");

    let (counts, head) = (world.counts(&site.vm)?, site.head()?);
    std::fs::write(go, "")?;
    first.signal("CONT")?;
    first
        .end()?
        .expect_code(40)?
        .expect_text("lost the lease on")?
        .expect_text(&format!("broke it: {why}"))?;
    let after = world.counts(&site.vm)?;
    ensure!(after == counts, "{counts:?}\n{after:?}");
    ensure!(site.head()? == head && site.version().as_deref() == Some("2.0.0"));
    crate::e2e::hold::lease_is_free_elsewhere(&site)
}

fn waits(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (first, events) = begun(&site, 600)?;
    waits_for(first, events, site.command(&SECOND))
}

fn waits_elsewhere(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (first, events) = begun(&site, 600)?;
    let mut second = site.command(&SECOND);
    elsewhere(&mut second, &site);
    waits_for(first, events, second)?;
    crate::e2e::hold::lease_is_free(&site)
}

const SECOND: [&str; 8] = [
    "run",
    "--plan",
    "smoke",
    "--json",
    "--wait",
    "300",
    "--set",
    "smoke.stable-seconds=0",
];

/// The first run ends when the second one has said that it waits for it.
fn waits_for(first: Child, events: Events, mut second: Command) -> Result<()> {
    let pid = format!("pid {}", first.id());
    let mut second = second
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = second.stdout.take().context("no stdout")?;
    let mut lines = BufReader::new(stdout).lines();
    let waits = lines.find(|line| {
        let says = |l: &String| l.contains("\"doing\"") && l.contains("waiting for the target,");
        line.as_ref().is_ok_and(says)
    });
    let waits = waits.context("it never said that it waits")??;
    ensure!(waits.contains(&pid), "{waits}");
    stopped(first, events)?;
    rest(second, lines)?.expect_code(0)?;
    Ok(())
}

fn waits_in_vain(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (mut first, _lines) = begun(&site, 600)?;
    let here = site.vdeploy(&["run", "--plan", "smoke", "--wait", "1"])?;
    let there = smoke_elsewhere(&site, &["--wait", "1"])?;
    first.kill()?;
    first.wait()?;
    for ran in [here, there] {
        ran.expect_code(20)?
            .expect_text("is held by run")?
            .expect_text("It was waited for 1 s")?;
    }
    Ok(())
}

/// Waits at both leases, in turn.
fn wait_interrupted(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    site.remote.push_variant("good-v2")?;
    let (mut first, _lines) = begun(&site, 600)?;
    for away in [false, true] {
        let mut command = site.command(&["run", "--json", "--wait", "600"]);
        if away {
            elsewhere(&mut command, &site);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let waits = lines.any(|line| line.is_ok_and(|l| l.contains("waiting for the target,")));
        ensure!(waits, "it never waited");
        run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
        rest(child, lines)?
            .expect_code(40)?
            .expect_text("stopped while it waited for the target; nothing was changed")?;
    }
    first.kill()?;
    first.wait()?;
    ensure!(site.head()? == before && site.version().as_deref() == Some("1.0.0"));
    Ok(())
}
