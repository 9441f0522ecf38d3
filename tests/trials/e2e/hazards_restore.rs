//! Hazards of a restore to a new VM: what the snapshot cannot know.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vdeploy_tests::Base;
use vdeploy_tests::base::{TOKEN, text};

pub fn add(add: &mut Add<'_>) {
    let mut test =
        |name: &str, test| crate::e2e::test(add, &format!("hazards_restore::{name}"), test);
    test("ledger_registry_and_the_old_vm_are_put_right", put_right);
}

fn put_right(base: &Base) -> Result<()> {
    let site = base.site()?;
    // The registry of the snapshot names the VM that it was taken of.
    site.vdeploy(&[
        "run",
        "--plan",
        "restart",
        "--json",
        "--set",
        "smoke.stable-seconds=0",
    ])?
    .expect_code(0)?;
    site.remote.push_variant("good-v2")?;
    let deploy = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    let snapshot = text(&deploy.event_first("snapshot-taken")?, "snapshot")?;
    let run = text(&deploy.event("run-finished")?, "run")?;
    let back = site
        .vdeploy(&["rollback", &run, "--to", "snapshot", "--json"])?
        .expect_code(0)?;
    let vm = text(&back.event("target-moved")?, "to")?;

    // H-31: the snapshot is older than its own record.
    let (_, ledger) = site.get(&vm, "/commits", Some(TOKEN))?;
    let ledger: Value = serde_json::from_str(&ledger)?;
    let record = find(&ledger, "commits", "commitId", &snapshot)?;
    ensure!(text(record, "vmId")? == site.vm, "{record}");

    // The registry of the snapshot has the old VM as the running one.
    let (_, registry) = site.get(&vm, "/registry/vms", Some(TOKEN))?;
    let registry: Value = serde_json::from_str(&registry)?;
    let new = find(&registry, "vms", "id", &vm)?;
    ensure!(
        text(new, "status")? == "running" && text(new, "address")?.starts_with(&vm),
        "{new}"
    );
    let old = find(&registry, "vms", "id", &site.vm)?;
    ensure!(text(old, "status")? == "stopped", "{old}");

    // Two services with one token would both be written to.
    let state = text(
        &base.api("GET", &format!("/vm/{}/status", site.vm), None)?,
        "state",
    )?;
    ensure!(
        state.eq_ignore_ascii_case("paused"),
        "the old VM is {state}"
    );
    ensure!(site.version().is_none(), "the old VM still answers");
    Ok(())
}

fn find<'v>(list: &'v Value, key: &str, id: &str, wanted: &str) -> Result<&'v Value> {
    list.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|entry| entry.get(id).and_then(Value::as_str) == Some(wanted))
        .with_context(|| format!("no {wanted} in {list}"))
}
