//! End-to-end tests on the local cloud: real git, npm, tsc, node, SSH and HTTP.
//!
//! Each test gets a VM of its own, restored from a snapshot of a deployed good
//! service.

mod archive;
mod boundaries;
mod builds;
mod children;
mod ci_cancels;
mod connection;
mod counted;
mod crashes;
mod cut;
mod doctor;
mod elsewhere;
mod embed;
mod fenced;
mod first;
mod gated;
mod grants;
mod hazards;
mod hazards_build;
mod hazards_restore;
mod hazards_systemd;
mod headless;
mod hold;
mod hostile;
mod init;
mod lease;
mod limits;
mod plugins;
mod prune;
mod replay;
mod resume;
mod rollback;
mod secrets;
mod signals;
mod state_directory;
mod torn;
mod under_way;

use crate::shared::Shared;
use crate::trial::Trial;
use anyhow::Result;
use vdeploy_tests::Base;

pub fn trials(cloud: &Shared<Base>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: String, test: Test| {
        let cloud = cloud.clone();
        trials.push(Trial::new(name, move || test(cloud.get()?)));
    };
    ci_cancels::add(&mut add);
    connection::add(&mut add);
    crashes::add(&mut add);
    doctor::add(&mut add);
    elsewhere::add(&mut add);
    embed::add(&mut add);
    archive::add(&mut add);
    boundaries::add(&mut add);
    fenced::add(&mut add);
    first::add(&mut add);
    grants::add(&mut add);
    headless::add(&mut add);
    hold::add(&mut add);
    hostile::add(&mut add);
    init::add(&mut add);
    lease::add(&mut add);
    limits::add(&mut add);
    plugins::add(&mut add);
    prune::add(&mut add);
    replay::add(&mut add);
    resume::add(&mut add);
    rollback::add(&mut add);
    secrets::add(&mut add);
    signals::add(&mut add);
    state_directory::add(&mut add);
    torn::add(&mut add);
    hazards::add(&mut add);
    hazards_build::add(&mut add);
    hazards_restore::add(&mut add);
    trials.extend(children::trials());
    trials.extend(hazards_systemd::trials());
    trials
}

/// A test on the shared cloud.
type Test = Box<dyn Fn(&Base) -> Result<()> + Send>;

/// How a module adds a test.
type Add<'a> = dyn FnMut(String, Test) + 'a;

/// Adds a test by its function.
fn test(add: &mut Add<'_>, name: &str, test: fn(&Base) -> Result<()>) {
    add(name.to_owned(), Box::new(test));
}
