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

pub use document::compare;

use crate::shared::Shared;
use crate::trial::Trial;
use anyhow::Result;
use row::Row;
use vdeploy_tests::platform::{Compiler, World};

/// A test on the shared platform, with its name.
type Test = (&'static str, fn(&World) -> Result<()>);

/// The rows of all tables.
fn rows() -> impl Iterator<Item = &'static Row> {
    let rows = network::TABLE.iter().chain(table::TABLE);
    rows.chain(servers::TABLE)
}

pub fn trials() -> Vec<Trial> {
    let world = Shared::new(|| World::start(Compiler::Kept));
    let of_row = |row: &'static Row| {
        let world = world.clone();
        Trial::new(row.title(), move || check::check(world.get()?, *row))
    };
    let of_test = |&(name, test): &Test| {
        let world = world.clone();
        Trial::new(name, move || test(world.get()?))
    };
    let others = [
        reach::TRIALS,
        doctor::TRIALS,
        registry::TRIALS,
        stalls::TRIALS,
        wake::TRIALS,
        network::HOLES,
        network::SLEEPERS,
    ];
    let others = others.iter().copied().flatten().map(of_test);
    rows().map(of_row).chain(others).collect()
}
