//! Many deploys in a row on one local cloud, each with a fault that is chosen
//! at random: whether anything is left behind or grows.
//!
//! As a trial it has a fixed seed. `cargo xtask soak` makes it as long as one
//! likes: `--deploys 200 --seed 7`.

mod fault;
mod figures;
mod proc;
mod round;
mod series;
mod soak;
mod watched;

use crate::trial::Trial;
use anyhow::{Context as _, Result};
use std::process::ExitCode;

/// In the short run.
const SHORT: Length = Length {
    deploys: 8,
    seed: 12,
    every: 4,
};

/// With `--all`: every fault twice.
const LONG: Length = Length {
    deploys: 32,
    seed: 32,
    every: 8,
};

/// How long a soak is.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// How many deploys.
    pub deploys: usize,
    /// Of the random choices.
    pub seed: u64,
    /// After how many deploys everything is looked at.
    pub every: usize,
}

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::new(
            "soak::eight_deploys_with_faults_leave_nothing_behind",
            || soak::run(SHORT),
        ),
        Trial::new("soak::every_fault_twice_leaves_nothing_behind", || {
            soak::run(LONG)
        }),
    ]
}

/// One as long as `--deploys` says, if it is asked for: how it ended.
pub fn asked_for() -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    words.iter().find(|word| *word == "--deploys")?;
    Some(match length(&words).and_then(soak::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    })
}

fn length(words: &[String]) -> Result<Length> {
    let number = |name: &str| -> Result<Option<u64>> {
        let Some(at) = words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        let text = words
            .get(at + 1)
            .with_context(|| format!("{name} needs a number"))?;
        Ok(Some(
            text.parse().with_context(|| format!("{name} {text}"))?,
        ))
    };
    let deploys = number("--deploys")?.context("how many?")?;
    Ok(Length {
        deploys: usize::try_from(deploys)?,
        seed: match number("--seed")? {
            Some(seed) => seed,
            None => fastrand::u64(..1_000_000),
        },
        every: 10,
    })
}
