//! First deploys and deploys of nothing new.

use crate::e2e::Add;
use anyhow::{Result, ensure};
use serde_json::Value;
use vdeploy_tests::Base;

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "first::deploy_to_an_empty_vm", deploy_to_an_empty_vm);
    crate::e2e::test(
        add,
        "first::a_failing_first_deploy_leaves_nothing_running",
        failing_first_deploy,
    );
    crate::e2e::test(
        add,
        "first::a_first_deploy_that_is_rolled_back_leaves_nothing_live_and_says_so",
        first_deploy_taken_away,
    );
    crate::e2e::test(
        add,
        "first::nothing_new_is_said_and_nothing_is_changed",
        nothing_new,
    );
    crate::e2e::test(
        add,
        "first::restart_plan_brings_a_killed_service_back",
        restart_after_a_crash,
    );
    crate::e2e::test(add, "first::dry_run_changes_nothing", dry_run);
}

fn deploy_to_an_empty_vm(base: &Base) -> Result<()> {
    let end = base.first.event("run-finished")?;
    ensure!(
        end.get("outcome") == Some(&Value::from("deployed")),
        "{end}"
    );
    let started = base.first.event("run-started")?;
    ensure!(
        started.get("plan") == Some(&Value::from("default")),
        "{started}"
    );
    Ok(())
}

fn failing_first_deploy(base: &Base) -> Result<()> {
    let site = base.bare_site()?;
    site.remote.push_variant("crashes-at-start")?;
    let ran = site.deploy(&[])?;
    let ran = ran.expect_code(11)?;
    let end = ran.event("run-finished")?;
    ensure!(
        end.get("outcome") == Some(&Value::from("rolled-back")),
        "{end}"
    );
    let message = vdeploy_tests::base::text(&end, "message")?;
    ensure!(message.contains("nothing is live now"), "{message}");
    ensure!(
        site.version().is_none(),
        "something answers: {:?}",
        site.version()
    );
    Ok(())
}

fn first_deploy_taken_away(base: &Base) -> Result<()> {
    let site = base.bare_site()?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    site.vdeploy(&["rollback"])?
        .expect_code(0)?
        .expect_text("rolled back: nothing was live before, and nothing is live now")?
        .expect_text("live      nothing")?;
    ensure!(
        site.version().is_none(),
        "something answers: {:?}",
        site.version()
    );
    Ok(())
}

fn nothing_new(base: &Base) -> Result<()> {
    let site = base.site()?;
    let first = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    drop(first);
    let again = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    let end = again.event("run-finished")?;
    ensure!(end.get("unchanged") == Some(&Value::from(true)), "{end}");
    ensure!(
        again.event("snapshot-taken").is_err(),
        "a snapshot was taken although nothing changed"
    );
    // The same code by another recipe is not the same deploy.
    let other = "restart.start=node --enable-source-maps dist/server.js";
    let changed = site
        .deploy(&["--set", "smoke.stable-seconds=0", "--set", other])?
        .expect_code(0)?;
    let end = changed.event("run-finished")?;
    ensure!(end.get("unchanged") == Some(&Value::from(false)), "{end}");
    Ok(())
}

fn restart_after_a_crash(base: &Base) -> Result<()> {
    let site = base.site()?;
    let pid = listener(&site.vdeploy(&[
        "run",
        "--plan",
        "smoke",
        "--json",
        "--set",
        "smoke.stable-seconds=0",
    ])?)?;
    vdeploy_tests::binary::run(std::process::Command::new("kill").args(["-9", &pid]))?;
    site.vdeploy(&["run", "--plan", "smoke"])?.expect_code(10)?;
    site.vdeploy(&["run", "--plan", "restart", "--json"])?
        .expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    Ok(())
}

/// The pid that smoke reports.
pub fn listener(ran: &vdeploy_tests::Ran) -> Result<String> {
    for event in ran.events()? {
        if let Some(pid) = event.pointer("/output/service/pid").and_then(Value::as_u64) {
            return Ok(pid.to_string());
        }
    }
    anyhow::bail!("smoke reports no pid:\n{}", ran.text())
}

fn dry_run(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let before = site.head()?;
    let ran = site.deploy(&["--dry-run"])?.expect_code(0)?;
    let shown = ran
        .events()?
        .into_iter()
        .any(|event| event.get("not-made") == Some(&Value::from(true)));
    ensure!(shown, "no change was shown:\n{}", ran.text());
    ensure!(site.head()? == before && site.version().as_deref() == Some("1.0.0"));
    Ok(())
}
