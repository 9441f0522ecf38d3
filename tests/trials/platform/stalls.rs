//! Nothing waits for a keepalive: a whole deploy goes over one connection on
//! which none is sent. A question whose answer does not come is given up after
//! 15 s and asked again over another connection, which is counted here.

use crate::platform::Test;
use anyhow::{Result, ensure};
use vdeploy_tests::platform::{Kind, World};

pub const TRIALS: &[Test] = &[
    ("stalls::a-vm-is-deployed-over-one-connection", vm),
    ("stalls::a-server-is-deployed-over-one-connection", server),
];

fn vm(world: &World) -> Result<()> {
    deployed(world, Kind::Vers, "default")
}

fn server(world: &World) -> Result<()> {
    deployed(world, Kind::Ssh, "default-ssh")
}

fn deployed(world: &World, kind: Kind, plan: &str) -> Result<()> {
    let place = world.place(kind, None)?;
    place.remote.push_variant("good-v2")?;
    let line = place.line()?;
    place.write_project_over(Some(&line), "keepalive = \"1h\"\n")?;
    let ran = place.vdeploy(&["run", "--plan", plan, "--json"])?;
    // With the snapshot, and with pauses: the window of the smoke test.
    ran.expect_code(0)?.event("snapshot-taken")?;
    let connections = line.connections();
    ensure!(connections == 1, "{connections} connections");
    let live = place.version(place.vm).unwrap_or_default();
    ensure!(live == "2.0.0", "`{live}` is live");
    Ok(())
}
