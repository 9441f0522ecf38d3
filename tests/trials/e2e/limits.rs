//! What bounds a plugin, seen from outside the program: one that computes without
//! end, in each of its functions and in each command that calls it; one that
//! takes memory; one that is no file of a plugin. None of them has a grant.
//!
//! The plans have only steps of the test's own, on a VM with nothing built.

use crate::e2e::Add;
use crate::e2e::cut::{begins, kill_when};
use crate::e2e::plugins::component;
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;
use vdeploy_tests::base::text;
use vdeploy_tests::binary::run;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    let mut test = |name: &str, test| crate::e2e::test(add, &format!("limits::{name}"), test);
    test("a_run_ends_a_step_that_computes_and_rolls_back", in_run);
    test("a_rollback_ends_an_undo_that_computes", in_undo);
    test(
        "a_dry_run_ends_a_plugin_that_computes_when_it_starts",
        in_start,
    );
    test("a_doctor_ends_a_plugin_that_computes", in_doctor);
    test("a_resumed_run_ends_a_step_that_computes", in_resume);
    test(
        "a_resumed_run_ends_a_check_an_undo_and_a_start_that_compute",
        in_other_functions_of_a_resumed_run,
    );
    test(
        "a_rollback_of_a_run_ends_every_function_that_computes",
        in_rollback,
    );
    test("one_signal_is_enough_while_a_plugin_computes", signalled);
    test("memory_is_bounded_for_the_whole_plugin", memory);
    test("what_is_no_plugin_is_refused_as_a_file", files);
    test("compiling_is_reported_once", compiling);
}

/// So long a run may take that should end in 5 s of computing, on a machine that
/// does much else.
const LONG: Duration = Duration::from_secs(120);

/// A step that changes the target and one that computes; plans to begin, to look
/// and to go back with.
fn site(base: &Base) -> Result<Site<'_>> {
    site_that_rolls_back_with(base, "spins-in-run")
}

/// The same, whose plan `rollback` has this plugin, and fails after it.
fn site_that_rolls_back_with<'a>(base: &'a Base, computes: &str) -> Result<Site<'a>> {
    let site = base.bare_site()?;
    let change = r#"[
        { do = "snapshot", label = "before" },
        { do = "exec", argv = ["echo", "changed"] },
    ]"#;
    let mut project = format!(
        r#"
[secrets.token]
env = "VERS_AUTH_TOKEN"

[plugins.change]
path = "{}"
[plugins.change.grants]
ssh = ["echo **"]
http = ["GET target/**"]
secrets = ["token@ssh"]
secrets-reveal = ["token"]
snapshot = ["create"]
state = true

[plans.change]
on-failure = "keep"
[[plans.change.step]]
id = "change"
plugin = "change"
config = {{ run = {change} }}

[plans.rollback]
[[plans.rollback.step]]
id = "computes"
plugin = "{computes}"
[[plans.rollback.step]]
id = "fails"
plugin = "change"
config = {{ run = [{{ do = "fail", code = "a.test", message = "as it should" }}] }}
[[plans.rollback.rollback]]
id = "back"
plugin = "change"
config = {{ run = [{{ do = "probe", argv = ["echo", "back"] }}] }}
"#,
        component("scripted")?.display()
    );
    for name in [
        "spins-in-check",
        "spins-in-run",
        "spins-in-undo",
        "spins-in-start",
        "many-instances",
    ] {
        project.push_str(&format!(
            r#"
[plugins.{name}]
path = "{}"

[plans.only-{name}]
on-failure = "keep"
[[plans.only-{name}.step]]
id = "computes"
plugin = "{name}"

[plans.{name}]
[[plans.{name}.step]]
id = "change"
plugin = "change"
config = {{ run = {change}, undo = [{{ do = "exec", argv = ["echo", "undone"] }}] }}
[[plans.{name}.step]]
id = "computes"
plugin = "{name}"
[[plans.{name}.step]]
id = "fails"
plugin = "change"
config = {{ run = [{{ do = "fail", code = "a.test", message = "as it should" }}] }}
[[plans.{name}.rollback]]
id = "back"
plugin = "change"
config = {{ run = [{{ do = "probe", argv = ["echo", "back"] }}] }}
"#,
            component(name)?.display()
        ));
    }
    site.write_project(&project)?;
    Ok(site)
}

/// Runs it to its end, which has to come.
fn ends(site: &Site<'_>, args: &[&str]) -> Result<Ran> {
    let args = [args, &["--json"]].concat();
    let mut begun = UnderWay::until(site.command(&args), |event| {
        event.get("type").and_then(Value::as_str) == Some("run-started")
    })?;
    let ended = begun.ended_within(LONG)?;
    ended.with_context(|| format!("{args:?} goes on computing"))?;
    begun.end()
}

/// How the functions of a step failed: phase and code.
fn failures(ran: &Ran, step: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for event in ran.events()? {
        let is = |key: &str, value: &str| event.get(key).and_then(Value::as_str) == Some(value);
        if is("type", "step-failed") && is("step", step) {
            let code = event.pointer("/failure/error/code");
            let code = code.and_then(Value::as_str).context("no code")?;
            found.push((text(&event, "phase")?, code.to_owned()));
        }
    }
    Ok(found)
}

fn expect_failure(ran: &Ran, phase: &str, code: &str) -> Result<()> {
    let found = failures(ran, "computes")?;
    let wanted = (phase.to_owned(), code.to_owned());
    ensure!(found == [wanted], "{found:?}\n{}", ran.text());
    Ok(())
}

/// Whether a function of a step ended well.
fn finished(ran: &Ran, step: &str, phase: &str) -> Result<bool> {
    let mut events = ran.events()?.into_iter();
    Ok(events.any(|event| {
        let is = |key: &str, value: &str| event.get(key).and_then(Value::as_str) == Some(value);
        is("type", "step-finished") && is("step", step) && is("phase", phase)
    }))
}

/// Rolled back as far as it goes, and the target is free again.
fn expect_rolled_back(site: &Site<'_>, ran: &Ran) -> Result<()> {
    ensure!(finished(ran, "change", "undo")?, "{}", ran.text());
    ensure!(finished(ran, "back", "run")?, "{}", ran.text());
    expect_free(site)
}

fn expect_free(site: &Site<'_>) -> Result<()> {
    site.vdeploy(&["run", "--plan", "change"])?.expect_code(0)?;
    Ok(())
}

fn in_run(base: &Base) -> Result<()> {
    let site = site(base)?;
    let ran = ends(&site, &["run", "--plan", "spins-in-run"])?.expect_code(11)?;
    expect_failure(&ran, "run", "plugin.cpu")?;
    expect_rolled_back(&site, &ran)
}

fn in_undo(base: &Base) -> Result<()> {
    let site = site(base)?;
    let ran = ends(&site, &["run", "--plan", "spins-in-undo"])?.expect_code(12)?;
    expect_failure(&ran, "undo", "plugin.cpu")?;
    expect_rolled_back(&site, &ran)
}

fn in_start(base: &Base) -> Result<()> {
    let site = site(base)?;
    let ran = ends(&site, &["run", "--dry-run", "--plan", "spins-in-start"])?.expect_code(3)?;
    expect_failure(&ran, "check", "plugin.cpu")?;
    for plan in ["spins-in-check", "spins-in-start"] {
        let ran = ends(&site, &["run", "--plan", plan])?.expect_code(3)?;
        expect_failure(&ran, "check", "plugin.cpu")?;
    }
    expect_free(&site)
}

fn in_doctor(base: &Base) -> Result<()> {
    let site = site(base)?;
    for plan in [
        "only-spins-in-check",
        "only-spins-in-run",
        "only-spins-in-start",
    ] {
        let mut child = site
            .command(&["doctor", "--plan", plan])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let until = std::time::Instant::now() + LONG;
        while child.try_wait()?.is_none() {
            if std::time::Instant::now() > until {
                child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let ran = Ran::from(child.wait_with_output()?);
        ensure!(ran.code > 0, "{} {}", ran.code, ran.text());
        ran.expect_text("computed for more than 5 s")?;
    }
    Ok(())
}

fn in_resume(base: &Base) -> Result<()> {
    let site = site(base)?;
    let command = site.command(&["run", "--json", "--plan", "spins-in-run"]);
    let cut = kill_when(command, begins("computes", "run"))?;
    let ran = ends(&site, &["resume", &cut.run])?.expect_code(11)?;
    expect_failure(&ran, "run", "plugin.cpu")?;
    expect_rolled_back(&site, &ran)
}

/// A check and a start that compute end the run before its first change; an undo
/// leaves a rollback that is not complete.
fn in_other_functions_of_a_resumed_run(base: &Base) -> Result<()> {
    let site = site(base)?;
    for (plan, phase, code) in [
        ("spins-in-check", "check", 3),
        ("spins-in-start", "check", 3),
        ("spins-in-undo", "undo", 12),
    ] {
        let command = site.command(&["run", "--json", "--plan", plan]);
        let cut = kill_when(command, begins("computes", phase))?;
        let ran = ends(&site, &["resume", &cut.run])?;
        ensure!(ran.code == code, "{plan}: {} {}", ran.code, ran.text());
        expect_failure(&ran, phase, "plugin.cpu").context(plan)?;
        expect_free(&site).context(plan)?;
    }
    Ok(())
}

/// The steps of a rollback that was asked for are not undone, so it calls no undo.
fn in_rollback(base: &Base) -> Result<()> {
    for (computes, phase) in [
        ("spins-in-check", "check"),
        ("spins-in-run", "run"),
        ("spins-in-start", "check"),
    ] {
        let site = site_that_rolls_back_with(base, computes)?;
        site.vdeploy(&["run", "--plan", "change"])?.expect_code(0)?;
        let ran = ends(&site, &["rollback"])?;
        ensure!(ran.code >= 3, "{computes}: {} {}", ran.code, ran.text());
        expect_failure(&ran, phase, "plugin.cpu").context(computes)?;
        expect_free(&site).context(computes)?;
    }
    Ok(())
}

/// Before a change the run is interrupted, after one it is rolled back; a signal
/// that comes while the guest computes is not waited with.
fn signalled(base: &Base) -> Result<()> {
    let site = site(base)?;
    for (plan, phase, code) in [("spins-in-check", "check", 40), ("spins-in-run", "run", 11)] {
        let command = site.command(&["run", "--json", "--plan", plan]);
        let mut begun = UnderWay::until(command, begins("computes", phase))?;
        begun.signal("TERM")?;
        let ended = begun.ended_within(LONG)?;
        ended.with_context(|| format!("{plan}: it goes on computing"))?;
        let ran = begun.end()?.expect_code(code)?;
        expect_failure(&ran, phase, "gate.cancelled")?;
        if code == 11 {
            expect_rolled_back(&site, &ran)?;
        }
    }
    Ok(())
}

/// 30 instances of 100 MiB.
fn memory(base: &Base) -> Result<()> {
    let site = site(base)?;
    let mut begun = UnderWay::until(
        site.command(&[
            "run",
            "--json",
            "--dry-run",
            "--plan",
            "only-many-instances",
        ]),
        |event| event.get("type").and_then(Value::as_str) == Some("run-started"),
    )?;
    let status = format!("/proc/{}/status", begun.pid());
    let mut most = 0;
    while begun.ended_within(Duration::from_millis(50))?.is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        most = most.max(kib.unwrap_or(0));
    }
    let ran = begun.end()?;
    expect_failure(&ran, "check", "plugin.memory")?;
    // The plugin's 256 MiB, and what the program is itself.
    ensure!((1..700 << 10).contains(&most), "{most} KiB");
    Ok(())
}

fn files(base: &Base) -> Result<()> {
    let site = base.bare_site()?;
    let path = site.dir().join("x.wasm");
    let inspect = || site.vdeploy(&["plugin", "inspect", "x.wasm"]);
    fs::File::create(&path)?.set_len((64 << 20) + 1)?;
    inspect()?.expect_code(2)?.expect_text("at most 64 MiB")?;
    site.write_project(&format!(
        "[plugins.x]\npath = \"{}\"\n[plans.x]\non-failure = \"keep\"\n\
         [[plans.x.step]]\nid = \"x\"\nplugin = \"x\"\n",
        path.display()
    ))?;
    let check = || site.vdeploy(&["plan", "check", "x"]);
    check()?.expect_code(30)?.expect_text("at most 64 MiB")?;
    fs::remove_file(&path)?;
    run(Command::new("mkfifo").arg(&path))?;
    inspect()?.expect_code(2)?.expect_text("a named pipe")?;
    check()?.expect_code(30)?.expect_text("a named pipe")?;
    for (fixture, words) in [
        ("huge-function", "bytes in one function"),
        ("many-memories", "multi"),
        ("memory-of-64-bits", "memory64"),
    ] {
        fs::remove_file(&path)?;
        fs::copy(component(fixture)?, &path)?;
        inspect()?.expect_text(words)?;
        check()?.expect_code(30)?.expect_text(words)?;
    }
    Ok(())
}

/// On standard error, so that programs that read standard output see none of it.
fn compiling(base: &Base) -> Result<()> {
    let site = site(base)?;
    let check = || -> Result<Ran> {
        let mut command = site.command(&["plan", "check", "only-spins-in-run"]);
        command.env("VDEPLOY_CACHE", site.dir().join("own-cache"));
        Ran::from(command.output()?).expect_code(0)
    };
    let words = "compiling plugin `spins-in-run`";
    let first = check()?;
    ensure!(first.stderr.matches(words).count() == 1, "{}", first.text());
    ensure!(!first.stdout.contains("compiling"), "{}", first.stdout);
    let second = check()?;
    ensure!(!second.text().contains("compiling"), "{}", second.text());
    Ok(())
}
