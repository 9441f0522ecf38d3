//! The soak itself: deploy after deploy, looked at after each, measured now
//! and then.

use crate::soak::Length;
use crate::soak::fault::{self, Fault};
use crate::soak::figures;
use crate::soak::round::Ground;
use crate::soak::series::{Table, self_check};
use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use vdeploy_tests::Base;

/// Runs it; fails at the first deploy that leaves something wrong, or at the
/// end when something has grown.
pub fn run(length: Length) -> Result<()> {
    let Length {
        deploys,
        seed,
        every,
    } = length;
    ensure!(self_check(), "the table takes growth for noise");
    println!("soak: {deploys} deploys, --seed {seed}");
    let base = Base::start()?;
    let mut rng = Rng::with_seed(seed);
    let sequence = fault::sequence(&mut rng, deploys);
    let mut ground = Ground::new(&base, rng)?;
    let mut table = Table::default();
    let mut tally: BTreeMap<Fault, (usize, Duration)> = BTreeMap::new();
    for (number, fault) in (1..).zip(sequence) {
        let began = Instant::now();
        let what = || format!("deploy {number} of {deploys} ({fault:?}), --seed {seed}");
        let came = ground.deploy(number, fault).with_context(what)?;
        let took = began.elapsed();
        println!("{number:4} {fault:?}: {came} ({:.1} s)", took.as_secs_f32());
        let (count, time) = tally.entry(fault).or_default();
        *count += 1;
        *time += took;
        if number % every == 0 || number == deploys {
            figures::take(&mut ground, &mut table).with_context(what)?;
            println!("     {}", table.newest());
        }
    }
    println!("\n| fault | deploys | seconds each |\n|---|---:|---:|");
    for (fault, (count, time)) in &tally {
        let each = time.as_secs_f64() / f64::from(u32::try_from(*count)?);
        println!("| {fault:?} | {count} | {each:.1} |");
    }
    println!("\n{}", table.markdown());
    let growing = table.growing();
    ensure!(
        growing.is_empty(),
        "it grows without end: {}",
        growing.join("; ")
    );
    Ok(())
}
