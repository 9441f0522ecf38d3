//! Without a terminal: exit code and JSON are all there is.

use crate::e2e::Add;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use vdeploy_tests::Base;
use vdeploy_tests::binary::run;

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "headless::json_is_one_event_a_line_with_the_format_first",
        json_lines,
    );
    crate::e2e::test(
        add,
        "headless::plain_output_has_no_control_characters",
        plain,
    );
    crate::e2e::test(add, "headless::a_closed_stdout_does_no_harm", closed_stdout);
    crate::e2e::test(add, "headless::usage_errors_are_2_and_say_where", usage);
    crate::e2e::test(
        add,
        "headless::a_missing_secret_is_3_before_anything",
        missing_secret,
    );
    crate::e2e::test(
        add,
        "headless::who_started_a_run_is_named_and_its_report_can_be_read",
        who_and_report,
    );
    crate::e2e::test(add, "headless::an_unreachable_target_is_22", unreachable);
}

fn json_lines(base: &Base) -> Result<()> {
    let events = base.first.events()?;
    let first = events.first().and_then(|e| e.get("type"));
    ensure!(first == Some(&Value::from("version")), "{first:?}");
    let last = events.last().and_then(|e| e.get("type"));
    ensure!(last == Some(&Value::from("run-finished")), "{last:?}");
    let format = events.first().and_then(|e| e.get("format"));
    ensure!(format.is_some_and(Value::is_u64), "{format:?}");
    Ok(())
}

fn plain(base: &Base) -> Result<()> {
    let site = base.site()?;
    let ran = site.vdeploy(&["run", "--plan", "smoke"])?.expect_code(0)?;
    ensure!(
        !ran.text().contains('\u{1b}'),
        "escape codes:\n{}",
        ran.text()
    );
    ensure!(ran.stdout.contains("smoke"), "{}", ran.text());
    Ok(())
}

/// The environment of a service has no USER. What commands printed is for its
/// user alone; a report is made to be picked up.
fn who_and_report(base: &Base) -> Result<()> {
    let site = base.site()?;
    let plan = ["run", "--plan", "smoke", "--junit", "junit.xml"];
    site.vdeploy(&plan)?.expect_code(0)?;
    let name = run(Command::new("id").arg("-un"))?.stdout;
    let name = String::from_utf8(name)?;
    let who = format!("{}@", name.trim());
    let list = site.vdeploy(&["runs", "list"])?.expect_code(0)?;
    list.expect_text(&who)?;
    let report = site.dir().join("junit.xml");
    let beside = site.dir().join("umask");
    std::fs::write(&beside, "")?;
    let mode = |path: &Path| std::fs::metadata(path).map(|seen| seen.permissions().mode());
    ensure!(mode(&report)? == mode(&beside)?, "{:o}", mode(&report)?);
    Ok(())
}

fn closed_stdout(base: &Base) -> Result<()> {
    let site = base.site()?;
    for json in [&["--json"][..], &[]] {
        let mut args = vec!["run", "--plan", "smoke"];
        args.extend(json);
        let mut child = site
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        drop(child.stdout.take());
        let code = child.wait()?.code();
        ensure!(code == Some(0), "{code:?} with {json:?}");
    }
    Ok(())
}

fn usage(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.vdeploy(&["run", "--no-such-flag"])?.expect_code(2)?;
    site.vdeploy(&["run", "--plan", "defualt"])?
        .expect_code(2)?
        .expect_text("default")?;
    site.vdeploy(&["run", "--set", "smoke.stable-secnds=1"])?
        .expect_code(2)?
        .expect_text("error: --set smoke.stable-secnds=1, column 7: step `smoke`: ")?
        .expect_text("stable-seconds")?;
    site.vdeploy(&["run", "--set", "nobody.port=1"])?
        .expect_code(2)?
        .expect_text("error: --set nobody.port=1, column 1: ")?;
    site.write_project("[plan.default]\n")?;
    site.vdeploy(&["run"])?
        .expect_code(2)?
        .expect_text("vdeploy.toml:6:")?;
    // What only the plugin's schema knows has its place, too.
    site.write_project(
        "[plans.default]\nextends = \"default\"\n[[plans.default.step]]\nid = \"smoke\"\n\
         [plans.default.step.config]\nstable-secnds = 1\nhealth = { deep = 3 }\n",
    )?;
    for args in [
        &["plan", "check", "default"][..],
        &["run"],
        &["run", "--set", "smoke.port=1"],
        &["doctor"],
    ] {
        site.vdeploy(args)?
            .expect_code(2)?
            .expect_text("vdeploy.toml:11:1: step `smoke`: unknown key `stable-secnds`")?
            .expect_text("vdeploy.toml:12:1: step `smoke`: `health`: ")?;
    }
    Ok(())
}

fn missing_secret(base: &Base) -> Result<()> {
    let site = base.site()?;
    let output = site
        .command(&["run"])
        .env_remove("VERS_AUTH_TOKEN")
        .output()?;
    vdeploy_tests::Ran::from(output)
        .expect_code(3)?
        .expect_text("VERS_AUTH_TOKEN")?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    Ok(())
}

fn unreachable(base: &Base) -> Result<()> {
    let site = base.site()?;
    let body = r#"{"state":"Paused"}"#;
    base.api("PATCH", &format!("/vm/{}/state", site.vm), Some(body))?;
    let ran = site.vdeploy(&["run", "--plan", "smoke"])?.expect_code(22);
    base.api(
        "PATCH",
        &format!("/vm/{}/state", site.vm),
        Some(r#"{"state":"Running"}"#),
    )?;
    ran.map(|_| ())
}
