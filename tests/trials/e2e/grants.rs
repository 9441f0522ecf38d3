//! What a grant bounds, and that what it does not bound is said: a plugin of
//! somebody else on the built program.

use crate::e2e::Add;
use crate::e2e::plugins::component;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vdeploy_tests::base::text;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "grants::a_variable_chooses_no_other_program",
        variables,
    );
    crate::e2e::test(add, "grants::a_probe_by_http_carries_no_change", probes);
    crate::e2e::test(add, "grants::the_advice_is_never_wider", advice);
    crate::e2e::test(
        add,
        "grants::what_a_shell_can_do_is_said_everywhere",
        by_word,
    );
    crate::e2e::test(add, "grants::a_bounded_plugin_is_not_named", bounded);
}

/// A plan of one step that makes these calls, with these ssh scopes.
fn project(site: &Site<'_>, ssh: &[&str], run: &Value) -> Result<()> {
    // JSON strings are TOML strings; tables need their own form.
    let calls: Vec<String> = run
        .as_array()
        .context("no list of calls")?
        .iter()
        .map(|call| {
            let members = call.as_object().into_iter().flatten();
            let members: Vec<String> = members.map(|(k, v)| format!("{k} = {v}")).collect();
            format!("  {{ {} }},", members.join(", "))
        })
        .collect();
    site.write_project(&format!(
        r#"
[plugins.third]
path = "{}"
[plugins.third.grants]
ssh = {}
http = ["GET target/health/**"]
secrets = ["auth-token@ssh"]
secrets-reveal = ["auth-token"]
snapshot = ["create"]
state = true

[plans.calls]
on-failure = "keep"
[[plans.calls.step]]
id = "calls"
plugin = "third"
[plans.calls.step.config]
run = [
{}
]
"#,
        component("scripted")?.display(),
        json!(ssh),
        calls.join("\n")
    ))
}

/// What the calls gave, in order.
fn seen(ran: &Ran) -> Result<Vec<Value>> {
    let finished = ran.event("step-finished")?;
    let seen = finished.pointer("/output/seen").and_then(Value::as_array);
    seen.cloned()
        .with_context(|| format!("no output in\n{}", ran.text()))
}

fn variables(base: &Base) -> Result<()> {
    let site = base.site()?;
    let drop = site.home(&site.vm)?.join("drop");
    std::fs::create_dir(&drop)?;
    let cwd = drop.to_string_lossy();
    let evil = "touch pwned";
    let call = |kind: &str, name: &str, value: &str| {
        json!({
            "do": kind, "try": true, "argv": ["printenv", name],
            "env": [[name, value]], "cwd": cwd, "stdin": evil,
        })
    };
    let run = json!([
        { "do": "snapshot", "label": "before" },
        call("exec", "vd_setsid", "/usr/bin/tee"),
        call("exec", "vd_setsid", "/bin/sh"),
        call("probe", "vd_s0", "/bin/sh"),
        call("exec", "PATH", &cwd),
        call("exec", "A=B", "x"),
        call("exec", "NODE_ENV", "a b"),
        call("probe", "OPTIND", "x"),
        { "do": "probe", "try": true, "argv": ["./printenv", "HOME"] },
        {
            "do": "exec", "try": true, "argv": ["printenv", "TOKEN", "NODE_ENV"],
            "env": [["NODE_ENV", "x"]], "secret": "auth-token",
        },
    ]);
    project(&site, &["printenv **"], &run)?;
    let ran = site
        .vdeploy(&["run", "--plan", "calls", "--json"])?
        .expect_code(0)?;
    let seen = seen(&ran)?;
    let stdout = |value: &str| json!({ "exit": 0, "stdout": value, "stderr": "" });
    ensure!(
        seen.get(1..)
            == Some(&[
                json!("ssh.invalid"),
                json!("ssh.invalid"),
                json!("ssh.invalid"),
                json!("ssh.denied"),
                json!("ssh.invalid"),
                stdout("a b\n"),
                stdout("x\n"),
                json!("ssh.invalid"),
                stdout("***\nx\n"),
            ]),
        "{seen:?}"
    );
    let left: Vec<_> = std::fs::read_dir(&drop)?.flatten().collect();
    ensure!(left.is_empty(), "{left:?}");
    // What else is the plugin's choice is shown, values are not.
    let shown = format!("ssh printenv NODE_ENV (in {cwd}, env NODE_ENV, 11 bytes of input)");
    ran.expect_text(&shown)?
        .expect_text("ssh printenv TOKEN NODE_ENV (env NODE_ENV TOKEN)")?;
    Ok(())
}

fn probes(base: &Base) -> Result<()> {
    let site = base.site()?;
    let get = |url: &str, header: &str, body: &str| {
        json!({
            "do": "http", "try": true, "method": "GET", "url": url,
            "header": [header, "DELETE"], "body": body,
        })
    };
    let run = json!([
        get("/health/x", "x-http-method-override", ""),
        get("/health/x", "X-HTTP-Method", ""),
        get("/health/x", "x_method_override", ""),
        get("/health/x", "accept", "a body"),
        get("/health/..;/version", "accept", ""),
        get("/health/..%3bx/version", "accept", ""),
        get("/health/x", "accept", ""),
    ]);
    project(&site, &["true"], &run)?;
    let ran = site
        .vdeploy(&["run", "--plan", "calls", "--json", "--dry-run"])?
        .expect_code(0)?;
    let seen = seen(&ran)?;
    let (last, refused) = seen.split_last().context("nothing seen")?;
    let invalid = json!("http.invalid");
    let denied = json!("http.denied");
    let expected = [&invalid, &invalid, &invalid, &invalid, &denied, &denied];
    ensure!(refused.iter().eq(expected), "{seen:?}");
    ensure!(last.get("status").is_some(), "{seen:?}");
    Ok(())
}

fn advice(base: &Base) -> Result<()> {
    let site = base.site()?;
    let refused = |argv: &[&str]| json!({ "do": "probe", "try": true, "argv": argv });
    let run = json!([
        refused(&["git", "status"]),
        refused(&["rm", "-rf", "/srv/a b"]),
        refused(&["sh", "-s"]),
        { "do": "probe", "try": true, "argv": ["true"], "env": [["PATH", "/tmp"]] },
    ]);
    project(&site, &["true"], &run)?;
    let ran = site
        .vdeploy(&["run", "--plan", "calls", "--dry-run"])?
        .expect_code(0)?
        .expect_text(r#"ssh = ["probe:git status"]"#)?
        .expect_text("no scope allows exactly this (its argument 2 has white space in it)")?
        .expect_text(r#"ssh = ["probe:sh -s"]"#)?
        .expect_text("# this scope can do anything on the target")?
        .expect_text("leave out `PATH`")?;
    for wide in ["**", "probe:*", "rm *"] {
        ensure!(!ran.text().contains(wide), "{wide}: {}", ran.text());
    }
    Ok(())
}

/// A probe that changes the target under a dry run: nothing hinders it, so
/// nothing may say that it did not happen.
fn by_word(base: &Base) -> Result<()> {
    let site = base.site()?;
    let run = json!([
        { "do": "probe", "argv": ["sh", "-s", "--", "facts"], "stdin": "touch changed" },
    ]);
    project(&site, &["probe:sh -s -- facts **", "npm ci"], &run)?;
    let warning = "the plugin `third` is not part of vdeploy and could change the target \
                   (`probe:sh -s -- facts **`, `npm ci`): it looks only, by its own word";
    let shown = site
        .vdeploy(&["plan", "show", "calls"])?
        .expect_code(0)?
        .expect_text(
            "# - runs any shell script: can do anything on the target; looks only, by the \
             plugin's word",
        )?
        .expect_text("# - runs `npm ci` on the target, in a directory and with input")?
        .expect_text("auth-token` to commands on the target, readable by the plugin")?;
    for untrue in ["exactly", "unseen", "only to look"] {
        ensure!(!shown.stdout.contains(untrue), "{untrue}: {}", shown.stdout);
    }
    site.vdeploy(&["plan", "check", "calls"])?
        .expect_code(0)?
        .expect_text(warning)?;
    let doctor = site.vdeploy(&["doctor", "--plan", "calls", "--json"])?;
    let check = doctor
        .events()?
        .into_iter()
        .find(|event| event.get("name").and_then(Value::as_str) == Some("probes of `third`"));
    let check = check.with_context(|| format!("not named in\n{}", doctor.text()))?;
    ensure!(text(&check, "status")? == "warned", "{check}");
    ensure!(text(&check, "detail")? == warning, "{check}");
    let changed = site.home(&site.vm)?.join("changed");
    ensure!(!changed.exists());
    let ran = site
        .vdeploy(&["run", "--plan", "calls", "--dry-run"])?
        .expect_code(0)?
        .expect_text(warning)?
        .expect_text("every change above was shown, and vdeploy made none")?
        .expect_text("the plugin `third` looked only, by its own word: vdeploy cannot tell")?;
    ensure!(changed.exists(), "the probe did not run");
    for untrue in ["nothing was changed", "changes nothing", "none was made"] {
        ensure!(!ran.text().contains(untrue), "{untrue}: {}", ran.text());
    }
    let asks = site
        .vdeploy(&["plugin", "inspect", "builtin:preflight"])?
        .expect_code(0)?
        .expect_text("can do anything on the target; looks only, by the plugin's word")?;
    ensure!(!asks.stdout.contains("unseen"), "{}", asks.stdout);
    Ok(())
}

fn bounded(base: &Base) -> Result<()> {
    let site = base.site()?;
    // A scope for changes covers what a plugin calls a probe too.
    project(&site, &["npm ci"], &json!([]))?;
    site.vdeploy(&["plan", "check", "calls"])?
        .expect_code(0)?
        .expect_text("could change the target (`npm ci`)")?;
    project(&site, &["probe:df -P /"], &json!([]))?;
    for args in [
        &["plan", "check", "calls"][..],
        &["run", "--plan", "calls", "--dry-run"],
        // The plugins of vdeploy itself are not warned of.
        &["plan", "check", "default"],
    ] {
        let ran = site.vdeploy(args)?.expect_code(0)?;
        ensure!(!ran.text().contains("own word"), "{}", ran.text());
    }
    Ok(())
}
