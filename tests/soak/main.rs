//! Many deploys in a row on one local cloud, each with a fault that is chosen
//! at random: whether anything is left behind or grows.
//!
//! As a test it is a short one with a fixed seed. `cargo xtask soak` makes it
//! long: `--deploys 200 --seed 7`.

mod fault;
mod figures;
mod proc;
mod round;
mod series;
mod soak;
mod watched;

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// What the test takes.
const SHORT: Length = Length {
    deploys: 12,
    seed: 12,
    every: 4,
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

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--deploys") {
        return match long(&words).and_then(soak::run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:?}");
                ExitCode::FAILURE
            }
        };
    }
    let short = Trial::test(
        "soak::twelve_deploys_with_faults_leave_nothing_behind",
        || soak::run(SHORT).map_err(|e| Failed::from(format!("{e:?}"))),
    );
    libtest_mimic::run(&Arguments::from_args(), vec![short]).exit_code()
}

fn long(words: &[String]) -> Result<Length> {
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
