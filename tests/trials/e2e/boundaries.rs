//! What the host does not take a plugin's word for: checks that failed, calls
//! without end, VMs and snapshots of others, values of other projects, and a
//! manifest that says what cannot be.

use crate::e2e::Add;
use crate::e2e::plugins::component;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use vdeploy_tests::{Base, Ran, Site};

type Test = fn(&Base) -> Result<()>;

pub fn add(add: &mut Add<'_>) {
    let tests: [(&str, Test); 7] = [
        ("a_failed_check_fails_its_step_and_the_run", failed_check),
        (
            "a_failed_check_after_a_deploy_brings_the_old_version_back",
            rolled_back,
        ),
        (
            "a_step_that_calls_without_end_is_ended_and_fills_no_disk",
            endless,
        ),
        ("a_vm_and_a_snapshot_of_others_are_left_alone", of_others),
        ("another_project_does_not_read_the_state_of_this_one", state),
        ("a_dry_run_that_goes_through_is_no_deploy", rehearsed),
        (
            "a_manifest_that_cannot_be_is_refused_by_every_command",
            manifest,
        ),
    ];
    for (name, test) in tests {
        crate::e2e::test(add, &format!("boundaries::{name}"), test);
    }
}

/// A project with the scripted plugin and its plans: `one` has one step, `more`
/// is the default plan with that step after smoke.
fn project(config: &Value) -> Result<String> {
    let config = config.as_object().context("no object")?;
    let mut keys = String::new();
    for (key, value) in config {
        keys.push_str(&format!("{key} = {}\n", toml(value)));
    }
    Ok(format!(
        r#"
[plugins.scripted]
path = "{}"
[plugins.scripted.grants]
ssh = ["echo **"]
http = ["GET target/**"]
secrets = ["auth-token@ssh"]
secrets-reveal = ["auth-token"]
snapshot = ["create", "restore"]
state = true

[plans.one]
on-failure = "keep"
[[plans.one.step]]
id = "scripted"
plugin = "scripted"
timeout = "10m"
[plans.one.step.config]
{keys}
[plans.more]
extends = "default"
[[plans.more.step]]
id = "scripted"
plugin = "scripted"
after = "smoke"
[plans.more.step.config]
{keys}"#,
        component("scripted")?.display()
    ))
}

/// JSON as an inline value of TOML.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| format!("{key} = {}", toml(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn run(site: &Site<'_>, config: &Value, args: &[&str]) -> Result<Ran> {
    site.write_project(&project(config)?)?;
    let mut all = vec!["run", "--plan", "one", "--json"];
    all.extend(args);
    site.vdeploy(&all)
}

/// The answers of the calls of the last run.
fn seen(ran: &Ran) -> Result<Value> {
    let finished = ran.event("step-finished")?;
    let seen = finished.pointer("/output/seen").cloned();
    seen.with_context(|| format!("no answers in {finished}"))
}

fn check(passes: bool) -> Value {
    json!({ "do": "check", "name": "version", "detail": "expected 2, found 1", "passes": passes })
}

fn failed_check(base: &Base) -> Result<()> {
    let site = base.site()?;
    let junit = site.dir().join("junit.xml");
    let report = junit.display().to_string();
    let args = ["--junit", report.as_str()];
    for (config, code) in [
        (json!({ "run": [check(false)] }), 10),
        (json!({ "check": [check(false)] }), 3),
    ] {
        run(&site, &config, &args)?
            .expect_code(code)?
            .expect_text("check.failed")?
            .expect_text("the check `version` failed: expected 2, found 1")?;
        let xml = fs::read_to_string(&junit)?;
        ensure!(!xml.contains("failures=\"0\""), "{xml}");
    }
    run(&site, &json!({ "run": [check(false), check(true)] }), &args)?.expect_code(0)?;
    let xml = fs::read_to_string(&junit)?;
    ensure!(
        xml.contains("failures=\"0\"") && !xml.contains("failures=\"1\""),
        "{xml}"
    );
    Ok(())
}

fn rolled_back(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    site.write_project(&project(&json!({ "run": [check(false)] }))?)?;
    let args = [
        "run",
        "--plan",
        "more",
        "--json",
        "--set",
        "smoke.stable-seconds=0",
    ];
    site.vdeploy(&args)?
        .expect_code(11)?
        .expect_text("check.failed")?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    Ok(())
}

fn endless(base: &Base) -> Result<()> {
    let site = base.site()?;
    let now = json!({ "do": "many", "times": u32::MAX, "call": { "do": "now" } });
    // Arguments, input and answer: 64 MiB in some 150 commands.
    let (line, input) = ("x".repeat(100_000), "y".repeat(250_000));
    let long = json!({ "do": "probe", "argv": ["echo", line], "stdin": input, "try": true });
    let long = json!({ "do": "many", "times": u32::MAX, "call": long });
    // On a slow machine the loop may have computed for too long before that.
    let ended = run(&site, &json!({ "run": [now] }), &[])?.expect_code(10)?;
    let text = ended.text();
    ensure!(
        text.contains("gate.too-much") || text.contains("plugin.cpu"),
        "{text}"
    );
    run(&site, &json!({ "run": [long] }), &[])?
        .expect_code(10)?
        .expect_text("gate.too-much")?;
    let mut bytes = 0;
    for entry in fs::read_dir(site.state())? {
        bytes += entry?.metadata()?.len();
    }
    ensure!(bytes < 400 << 20, "{bytes} bytes in the state directory");
    Ok(())
}

fn of_others(base: &Base) -> Result<()> {
    let (site, other) = (base.site()?, base.site()?);
    let path = format!("/vm/{}/commit", other.vm);
    let commit = base.api("POST", &path, None)?;
    let commit = commit.get("commit_id").and_then(Value::as_str);
    let commit = commit.context("no commit")?.to_owned();
    let calls = json!([
        { "do": "snapshot", "label": "before" },
        { "do": "pause", "vm": other.vm, "try": true },
        { "do": "restore", "id": commit, "try": true },
    ]);
    let ran = run(&site, &json!({ "run": calls }), &[])?.expect_code(0)?;
    let seen = seen(&ran)?;
    ensure!(seen.get(1) == Some(&json!("snapshot.not-left")), "{seen}");
    ensure!(
        seen.get(2) == Some(&json!("snapshot.not-of-target")),
        "{seen}"
    );
    ensure!(other.version().is_some(), "the other VM was paused");
    Ok(())
}

fn state(base: &Base) -> Result<()> {
    let site = base.site()?;
    let put = json!({ "run": [{ "do": "put", "key": "k", "value": "private" }] });
    let get = json!({ "run": [{ "do": "get", "key": "k" }] });
    run(&site, &put, &[])?.expect_code(0)?;
    // Another project with the same names, on the same target.
    let theirs = site.dir().join("theirs");
    fs::create_dir(&theirs)?;
    site.write_project(&project(&get)?)?;
    fs::copy(site.dir().join("vdeploy.toml"), theirs.join("vdeploy.toml"))?;
    let mut command = site.command(&["run", "--plan", "one", "--json"]);
    let other: Ran = command.current_dir(&theirs).output()?.into();
    let other = seen(&other.expect_code(0)?)?;
    ensure!(other == json!([null]), "{other}");
    let own = seen(&run(&site, &get, &[])?.expect_code(0)?)?;
    ensure!(own == json!(["private"]), "{own}");
    Ok(())
}

fn rehearsed(base: &Base) -> Result<()> {
    let site = base.site()?;
    let calls = json!({ "run": [{ "do": "snapshot", "label": "before" }] });
    let ran = run(&site, &calls, &["--dry-run"])?.expect_code(0)?;
    let end = ran.event("run-finished")?;
    ensure!(end.get("outcome") == Some(&json!("rehearsed")), "{end}");
    ensure!(end.get("target-changed") == Some(&json!(false)), "{end}");
    let list = site.vdeploy(&["runs", "list"])?.expect_code(0)?;
    list.expect_text("rehearsed (dry run)")?;
    Ok(())
}

/// The same component with other bytes in its manifest, as many of them.
fn with_manifest(site: &Site<'_>, from: &str, to: &str) -> Result<String> {
    ensure!(from.len() == to.len());
    let mut bytes = fs::read(component("version-check")?)?;
    let places: Vec<usize> = (0..bytes.len().saturating_sub(from.len()))
        .filter(|at| bytes.get(*at..at + from.len()) == Some(from.as_bytes()))
        .collect();
    ensure!(!places.is_empty(), "no `{from}` in the component");
    for at in places {
        let place = bytes.get_mut(at..at + from.len()).context("no place")?;
        place.copy_from_slice(to.as_bytes());
    }
    let path = site.dir().join("other.wasm");
    fs::write(&path, bytes)?;
    Ok(path.display().to_string())
}

fn manifest(base: &Base) -> Result<()> {
    let site = base.site()?;
    for (from, to, words) in [
        ("api = \"1.0\"", "api = \"x.y\"", "plugin.toml:4:7: "),
        ("api = \"1.0\"", "api = \"1.9\"", "update vdeploy"),
        (
            "capability = \"http\"",
            "capability = \"smtp\"",
            "there is no capability `smtp`",
        ),
        (
            "scope = \"GET target/version\"",
            "scope = \"GET_target/version\"",
            "it is not two words",
        ),
        (
            "type = \"string\"",
            "type = \"strong\"",
            "no valid JSON Schema",
        ),
    ] {
        let path = with_manifest(&site, from, to)?;
        site.vdeploy(&["plugin", "inspect", &path])?
            .expect_code(30)?
            .expect_text(words)?;
        site.write_project(&format!(
            r#"
[plugins.version-check]
path = "{path}"
[plugins.version-check.grants]
http = ["GET target/version"]

[plans.look]
on-failure = "keep"
[[plans.look.step]]
id = "version-check"
plugin = "version-check"
[plans.look.step.config]
expect = "1.0.0"
"#
        ))?;
        for args in [["plan", "check", "look"], ["run", "--plan", "look"]] {
            site.vdeploy(&args)?.expect_code(30)?.expect_text(words)?;
        }
    }
    Ok(())
}
