//! End-to-end tests on a platform of the tests' own: real `sshd` in TLS, git,
//! npm and node, and an API that can be made to fail.

mod check;
mod doctor;
mod document;
mod network;
mod reach;
mod registry;
mod row;
mod servers;
mod stalls;
mod table;
mod wake;
mod words;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::{Arc, OnceLock};
use vdeploy_tests::platform::World;

/// A test on the shared platform, with its name.
type Test = (&'static str, fn(&World) -> Result<()>);

/// The platform, started by the first test that needs it.
type Shared = Arc<OnceLock<Result<World, String>>>;

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a test is waiting: for a service, for the end of a window.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores * 3);
    let shared: Shared = Arc::default();
    let rows = network::TABLE.iter().chain(table::TABLE);
    let rows = rows.chain(servers::TABLE);
    let mut trials: Vec<Trial> = rows
        .map(|row| {
            let shared = shared.clone();
            Trial::test(row.title(), move || {
                let world = shared.get_or_init(|| World::start().map_err(|e| format!("{e:#}")));
                let world = world.as_ref().map_err(Failed::from)?;
                check::check(world, *row).map_err(|e| Failed::from(format!("{e:#}")))
            })
        })
        .collect();
    let others = [
        reach::TRIALS,
        doctor::TRIALS,
        registry::TRIALS,
        stalls::TRIALS,
        wake::TRIALS,
        network::HOLES,
        network::SLEEPERS,
    ];
    trials.extend(others.iter().copied().flatten().map(|(name, test)| {
        let shared = shared.clone();
        Trial::test(*name, move || {
            let world = shared.get_or_init(|| World::start().map_err(|e| format!("{e:#}")));
            let world = world.as_ref().map_err(Failed::from)?;
            test(world).map_err(|e| Failed::from(format!("{e:#}")))
        })
    }));
    trials.push(document::trial());
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `process::exit` would leave the VMs running.
    drop(shared);
    conclusion.exit_code()
}
