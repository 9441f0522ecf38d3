//! A whole deploy of the sample service: `vdeploy run` beside the runbook as a
//! person follows it, on the platform of the tests (VMs of Linux namespaces, a
//! real `sshd`, git, npm and node). The new version has one package more.
//!
//! Both get a VM of their own in each turn, with the same disk. `--quick` takes
//! one turn; the row is a line of the table in docs/performance.md.

mod by_hand;
#[path = "../../../host/cli/benches/target/samples.rs"]
mod samples;

use anyhow::{Context as _, Result, ensure};
use by_hand::ByHand;
use samples::{Samples, head, row};
use std::time::{Duration, Instant};
use vdeploy_tests::platform::{Compiler, Kind, Place, World};

/// What is deployed, over 1.0.0.
const VARIANT: &str = "new-dependency";
const NEW: &str = "2.0.0-new-dependency";
/// How long `smoke` of the plan `default` watches the new process.
const WATCHED: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    // cargo itself adds `--bench`.
    let quick = std::env::args().any(|arg| arg == "--quick");
    let turns = if quick { 1 } else { 5 };
    let world = World::start(Compiler::Real)?;
    describe();
    let [mut ours, mut by_hand, mut watched] = [(); 3].map(|()| Samples::default());
    for turn in 0..=turns {
        let took = [with_vdeploy(&world)?, with_the_runbook(&world)?];
        // The first turn warms files and caches.
        if turn > 0 {
            let [vdeploy, runbook] = took;
            ours.add(vdeploy);
            by_hand.add(runbook);
            watched.add(runbook + WATCHED);
        }
    }
    head(
        "A whole deploy of the sample service, one package more",
        &["way", "s", "least, s", "ratio of vdeploy to it"],
    );
    for (what, side) in [
        ("`vdeploy run`, 5 s of them watching the new process", &ours),
        ("the runbook by hand, ControlMaster", &by_hand),
        ("the same, and watching for 5 s", &watched),
    ] {
        row(&[
            what.to_owned(),
            format!("{:.1}", side.median() / 1e3),
            format!("{:.1}", side.least() / 1e3),
            format!("{:.2}", ours.ratio(side)),
        ]);
    }
    Ok(())
}

/// A VM with the old version, and the new one in its remote.
fn place(world: &World) -> Result<Place<'_>> {
    let place = world.place(Kind::Vers, None)?;
    place.remote.push_variant(VARIANT)?;
    Ok(place)
}

fn with_vdeploy(world: &World) -> Result<Duration> {
    let place = place(world)?;
    let began = Instant::now();
    let ran = place.deploy(&[])?;
    let took = began.elapsed();
    ran.expect_code(0)?;
    is_live(&place)?;
    Ok(took)
}

fn with_the_runbook(world: &World) -> Result<Duration> {
    let place = place(world)?;
    let hand = ByHand::at(&place)?;
    let began = Instant::now();
    hand.deploy()?;
    let took = began.elapsed();
    is_live(&place)?;
    Ok(took)
}

fn is_live(place: &Place<'_>) -> Result<()> {
    let live = place.version(place.vm).context("nothing answers")?;
    ensure!(live == NEW, "`{live}` is live instead of `{NEW}`");
    Ok(())
}

/// What a reader of the figures must know.
fn describe() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{} CPUs; load {}; the benchmark is {}, vdeploy of the same build",
        std::thread::available_parallelism().map_or(0, usize::from),
        load.split(' ').next().unwrap_or_default(),
        if cfg!(debug_assertions) {
            "UNOPTIMISED"
        } else {
            "optimised"
        },
    );
}
