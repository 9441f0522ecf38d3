//! The VM from the registry that the service on it keeps.

use crate::platform::Test;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vdeploy_tests::base::TOKEN;
use vdeploy_tests::platform::{Kind, Place, World};

pub const TRIALS: &[Test] = &[("registry::the_vm_is_looked_up_and_deployed_to", looked_up)];

const SMOKE: &[&str] = &["run", "--plan", "smoke", "--set", "smoke.stable-seconds=0"];

/// The entries that the registry has as running.
fn entries(place: &Place<'_>) -> Result<Vec<Value>> {
    let (status, body) = place.get(place.vm, "/registry/vms", Some(TOKEN))?;
    ensure!(status == 200, "{status} {body}");
    let body: Value = serde_json::from_str(&body)?;
    Ok(body
        .get("vms")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default())
}

fn looked_up(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    place.write_registry_project()?;

    // The VM was restored, and its registry still has the one before.
    ensure!(
        !entries(&place)?.is_empty(),
        "the first deploy left no entry"
    );
    place
        .vdeploy(SMOKE)?
        .expect_code(3)?
        .expect_text("none of its entries with the role `infra` fits")?
        .expect_text("the platform does not know it")?
        .expect_text("name the VM in the target")?;

    let services = ["board", "feed", "registry"].map(|name| json!({ "name": name }));
    let entry = json!({
        "id": place.vm, "name": "infra", "role": "infra", "registeredBy": "test",
        "address": format!("{}.vm.localhost", place.vm),
        "services": services,
    });
    place.post("/registry/vms", &entry.to_string())?;
    let pushed = place.remote.push_variant("good-v2")?;
    let ran = place
        .deploy(&["--set", "smoke.stable-seconds=1"])?
        .expect_code(0)?;
    ensure!(place.head()? == pushed, "not deployed:\n{}", ran.text());
    ensure!(place.version(place.vm).as_deref() == Some("2.0.0"));
    let own = place.vm.to_string();
    let kept = entries(&place)?;
    let own = |entry: &&Value| entry.get("id").and_then(Value::as_str) == Some(&own);
    ensure!(kept.iter().filter(own).count() == 1, "{kept:?}");
    place
        .vdeploy(&["doctor"])?
        .expect_code(0)?
        .expect_text(&format!("VM: {} is running", place.vm))?;

    // Nobody is there to ask.
    place.vm(place.vm)?.end("node")?;
    place
        .vdeploy(SMOKE)?
        .expect_code(22)?
        .expect_text("does not answer")?
        .expect_text("name the VM in the target for this run")?;
    Ok(())
}
