//! End-to-end tests on a platform of the tests' own: real `sshd` in TLS, git,
//! npm and node, and an API that can be made to fail.

mod check;
mod row;
mod table;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::{Arc, OnceLock};
use table::TABLE;
use vdeploy_tests::platform::World;

/// The platform, started by the first test that needs it.
type Shared = Arc<OnceLock<Result<World, String>>>;

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a test is waiting: for a service, for the end of a window.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores * 3);
    let shared: Shared = Arc::default();
    let trials = TABLE
        .iter()
        .map(|row| {
            let shared = shared.clone();
            Trial::test(format!("{:?}::{}", row.plan, row.name), move || {
                let world = shared.get_or_init(|| World::start().map_err(|e| format!("{e:?}")));
                match world {
                    Ok(world) => check::check(world, *row).map_err(|e| format!("{e:?}").into()),
                    Err(error) => Err(Failed::from(error.as_str())),
                }
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `process::exit` would leave the VMs running.
    drop(shared);
    conclusion.exit_code()
}
