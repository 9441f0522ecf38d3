//! End-to-end tests on a platform of the tests' own: real `sshd` in TLS, git,
//! npm and node, and an API that can be made to fail.

mod check;
mod doctor;
mod observed;
mod reach;
mod registry;
mod row;
mod servers;
mod table;
mod wake;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use observed::Observed;
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
    let observed: Arc<Observed> = Arc::default();
    let rows = table::TABLE.iter().chain(servers::TABLE);
    let mut trials: Vec<Trial> = rows
        .map(|row| {
            let (shared, observed) = (shared.clone(), observed.clone());
            Trial::test(row.title(), move || {
                let world = shared.get_or_init(|| World::start().map_err(|e| format!("{e:#}")));
                let world = world.as_ref().map_err(Failed::from)?;
                let message = check::check(world, *row).map_err(|e| format!("{e:#}"))?;
                observed.add(*row, message);
                Ok(())
            })
        })
        .collect();
    let others = [
        reach::TRIALS,
        doctor::TRIALS,
        registry::TRIALS,
        wake::TRIALS,
    ];
    trials.extend(others.iter().copied().flatten().map(|(name, test)| {
        let shared = shared.clone();
        Trial::test(*name, move || {
            let world = shared.get_or_init(|| World::start().map_err(|e| format!("{e:#}")));
            let world = world.as_ref().map_err(Failed::from)?;
            test(world).map_err(|e| Failed::from(format!("{e:#}")))
        })
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `process::exit` would leave the VMs running.
    drop(shared);
    if let Err(error) = observed.write() {
        eprintln!("the table was not written: {error:#}");
        return std::process::ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
