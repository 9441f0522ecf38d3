//! End-to-end tests on a platform of the tests' own: real `sshd` in TLS, git,
//! npm and node, and an API that can be made to fail.

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::{Arc, OnceLock};
use vdeploy_tests::platform::World;

/// The platform, started by the first test that needs it.
type Shared = Arc<OnceLock<Result<World, String>>>;

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a test is waiting: for a service, for the end of a window.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores * 3);
    let shared: Shared = Arc::default();
    let mut trials = Vec::new();
    {
        let shared = shared.clone();
        trials.push(Trial::test("first", move || {
            let world = shared.get_or_init(|| World::start().map_err(|e| format!("{e:?}")));
            match world {
                Ok(world) => first(world).map_err(|e| Failed::from(format!("{e:?}"))),
                Err(error) => Err(Failed::from(error.as_str())),
            }
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `process::exit` would leave the VMs running.
    drop(shared);
    conclusion.exit_code()
}

fn first(world: &World) -> Result<()> {
    let place = world.place(None)?;
    place.add_task("keep me")?;
    place.remote.push_variant("good-v2")?;
    let ran = place.deploy(&[])?.expect_code(0)?;
    println!("{}", ran.text());
    ensure!(place.version(place.vm).as_deref() == Some("2.0.0"));
    println!("{:?}", place.made());
    Ok(())
}
