//! `vdeploy rollback RUN`, both ways.

use crate::e2e::Add;
use crate::e2e::cut::{begins, kill_deploy};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vdeploy_tests::base::{TOKEN, text};
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "rollback::by_git_on_the_same_vm", by_git);
    crate::e2e::test(add, "rollback::by_snapshot_on_a_new_vm", by_snapshot);
    crate::e2e::test(
        add,
        "rollback::a_failed_deploy_can_roll_back_to_the_snapshot",
        failing_to_snapshot,
    );
    crate::e2e::test(
        add,
        "rollback::without_a_run_it_takes_the_newest_change_that_stands",
        newest_that_stands,
    );
    crate::e2e::test(
        add,
        "rollback::of_a_lost_vm_goes_to_the_snapshot_without_another",
        lost_vm,
    );
    crate::e2e::test(
        add,
        "rollback::a_dry_run_after_a_deploy_goes_through_both_ways",
        rehearsed,
    );
    crate::e2e::test(
        add,
        "rollback::after_a_run_that_was_cut_off_it_goes_back_to_what_served",
        what_served,
    );
    crate::e2e::test(
        add,
        "rollback::with_another_token_it_is_refused_before_anything_changes",
        other_token,
    );
    crate::e2e::test(add, "rollback::keep_leaves_the_failed_version", keep);
    crate::e2e::test(add, "rollback::runs_are_listed_and_shown", runs);
}

fn deployed_v2<'a>(base: &'a Base) -> Result<(Site<'a>, Ran, String)> {
    let site = base.site()?;
    site.add_task("keep me")?;
    site.remote.push_variant("good-v2")?;
    let ran = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let run = text(&ran.event("run-finished")?, "run")?;
    Ok((site, ran, run))
}

fn by_git(base: &Base) -> Result<()> {
    let (site, _, run) = deployed_v2(base)?;
    site.vdeploy(&["rollback", &run, "--to", "in-place", "--json"])?
        .expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    let (status, board) = site.get(&site.vm, "/board/tasks", Some(TOKEN))?;
    ensure!(
        status == 200 && board.contains("keep me"),
        "{status} {board}"
    );
    let (status, _) = site.get(&site.vm, "/board/tasks", None)?;
    ensure!(status == 401, "open after the rollback: {status}");
    Ok(())
}

fn by_snapshot(base: &Base) -> Result<()> {
    let (site, deploy, run) = deployed_v2(base)?;
    let snapshot = text(&deploy.event_first("snapshot-taken")?, "snapshot")?;
    let ran = site
        .vdeploy(&["rollback", &run, "--to", "snapshot", "--json"])?
        .expect_code(0)?;
    let vm = text(&ran.event("target-moved")?, "to")?;
    ensure!(vm != site.vm, "the target did not move");
    ensure!(
        site.version_on(&vm).as_deref() == Some("1.0.0"),
        "{:?}",
        site.version_on(&vm)
    );
    let (status, ledger) = site.get(&vm, "/commits", Some(TOKEN))?;
    ensure!(
        status == 200 && ledger.contains(&snapshot),
        "the snapshot is not in the ledger: {ledger}"
    );
    let (_, registry) = site.get(&vm, "/registry/vms", Some(TOKEN))?;
    ensure!(
        registry.contains(&vm),
        "the new VM is not in the registry: {registry}"
    );
    let next = site
        .vdeploy(&["run", "--plan", "smoke", "--json"])?
        .expect_code(0)?;
    let started = next.event("run-started")?;
    ensure!(
        text(&started, "vm")? == vm,
        "the next run does not find the new VM: {started}"
    );
    Ok(())
}

fn rehearsed(base: &Base) -> Result<()> {
    let (site, _, run) = deployed_v2(base)?;
    for to in ["in-place", "snapshot"] {
        site.vdeploy(&["rollback", "--to", to, "--dry-run"])?
            .expect_code(0)?
            .expect_text("does not start the old version")?;
    }
    ensure!(site.version().as_deref() == Some("2.0.0"));
    // Once it is done the rehearsal tests what runs.
    site.vdeploy(&["rollback", &run])?.expect_code(0)?;
    site.vdeploy(&["rollback", &run, "--to", "in-place", "--again", "--dry-run"])?
        .expect_code(0)?
        .expect_text("live already")?;
    Ok(())
}

/// Killed after its build, a deploy leaves its commit checked out and built, and
/// the version before it at work.
fn what_served(base: &Base) -> Result<()> {
    let site = base.site()?;
    let served = site.head()?;
    let left = site.remote.push_variant("good-v2")?;
    let cut = kill_deploy(&site, &[], begins("restart", "run"))?;
    site.vdeploy(&["abandon", &cut.run, "--reason", "the old version runs"])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("1.0.0") && site.head()? == left);

    site.remote.push_variant("error-500")?;
    let ran = site.deploy(&["--wait", "60"])?.expect_code(11)?;
    let short = |sha: &str| sha.chars().take(7).collect::<String>();
    ran.expect_text(&format!(
        "serves {}, the live build has {}",
        short(&served),
        short(&left)
    ))?
    .expect_text(&format!("{} is built again", short(&served)))?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    ensure!(
        site.head()? == served,
        "the commit that serves is not checked out"
    );
    Ok(())
}

fn other_token(base: &Base) -> Result<()> {
    let (site, _, run) = deployed_v2(base)?;
    let with_other = |args: &[&str]| -> Result<Ran> {
        let mut command = site.command(args);
        command.env("VERS_AUTH_TOKEN", "another-token-of-somebody");
        Ok(command.output()?.into())
    };
    let new_token = ["rollback", &run, "--set", "rollback.new-token=true"];
    with_other(&["rollback", &run])?
        .expect_code(3)?
        .expect_text(&new_token[2..].join(" "))?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    with_other(&new_token)?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    ensure!(site.get(&site.vm, "/board/tasks", Some(TOKEN))?.0 == 401);
    // And back to the token that the agents have.
    let once_more = [&new_token[..], &["--again"]].concat();
    site.vdeploy(&once_more)?.expect_code(0)?;
    ensure!(site.get(&site.vm, "/board/tasks", Some(TOKEN))?.0 == 200);
    Ok(())
}

fn newest_that_stands(base: &Base) -> Result<()> {
    let (site, _, run) = deployed_v2(base)?;
    site.remote.push_variant("crashes-at-start")?;
    site.deploy(&[])?.expect_code(11)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let ran = site.vdeploy(&["rollback", "--json"])?.expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    let begun = ran.event("rollback-started")?;
    let undoes = begun.get("undoes").context("no run is named")?;
    ensure!(text(undoes, "run")? == run, "{begun}");
    // Once more is refused, with and without its name, unless that is meant; a
    // rollback itself is no run to go back from.
    site.vdeploy(&["rollback"])?
        .expect_code(2)?
        .expect_text("nothing is left to undo on the target `infra`")?;
    site.vdeploy(&["rollback", &run])?
        .expect_code(2)?
        .expect_text(&format!("run {run} was undone by the rollback"))?;
    site.vdeploy(&["rollback", &run, "--again"])?
        .expect_code(0)?
        .expect_text(&format!(
            "rollback begins: it undoes run {run} (plan default"
        ))?
        .expect_text("live already")?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    let rollback = text(&ran.event("run-finished")?, "run")?;
    site.vdeploy(&["rollback", &rollback])?
        .expect_code(2)?
        .expect_text("is a rollback itself")?;
    Ok(())
}

fn lost_vm(base: &Base) -> Result<()> {
    let (site, _, run) = deployed_v2(base)?;
    base.api("DELETE", &format!("/vm/{}", site.vm), None)?;
    let back = ["rollback", &run, "--to", "snapshot", "--json"];
    site.vdeploy(&back)?
        .expect_code(22)?
        .expect_text("--without-snapshot")?;
    let ran = site
        .vdeploy(&[&back[..], &["--without-snapshot", "the VM is lost"]].concat())?
        .expect_code(0)?;
    let vm = text(&ran.event("target-moved")?, "to")?;
    ensure!(
        site.version_on(&vm).as_deref() == Some("1.0.0"),
        "{:?}",
        site.version_on(&vm)
    );
    Ok(())
}

fn failing_to_snapshot(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("wrong-json")?;
    let ran = site
        .deploy(&["--rollback-to", "snapshot"])?
        .expect_code(11)?;
    let vm = text(&ran.event("target-moved")?, "to")?;
    ensure!(
        site.version_on(&vm).as_deref() == Some("1.0.0"),
        "{:?}",
        site.version_on(&vm)
    );
    Ok(())
}

fn keep(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("wrong-json")?;
    let ran = site.deploy(&["--on-failure", "keep"])?.expect_code(13)?;
    ensure!(
        site.version().as_deref() == Some("2.0.0-wrong-json"),
        "{:?}",
        site.version()
    );
    let end = ran.event("run-finished")?;
    let next = end.get("next").map(Value::to_string).unwrap_or_default();
    ensure!(
        next.contains("vdeploy rollback"),
        "no way back is named: {end}"
    );
    site.vdeploy(&["rollback"])?.expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    Ok(())
}

fn runs(base: &Base) -> Result<()> {
    let (site, _, run) = deployed_v2(base)?;
    site.vdeploy(&["runs", "list"])?
        .expect_code(0)?
        .expect_text(&run)?;
    let prefix = run.get(..run.len() - 2).context("a short run id")?;
    site.vdeploy(&["runs", "show", prefix])?
        .expect_code(0)?
        .expect_text("npm-build")?
        .expect_text("git")?;
    site.vdeploy(&["runs", "show", "nonsense"])?
        .expect_code(2)?
        .expect_text("runs list")?;
    // What is advised finds the same state.
    site.vdeploy(&["--state", "other state", "resume", &run])?
        .expect_code(2)?
        .expect_text("`vdeploy --state 'other state' runs list`")?;
    Ok(())
}
