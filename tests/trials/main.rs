//! Every end-to-end trial, in one program, so that they share what is slow to
//! start (a local cloud, a platform) and one pool of threads: most of a trial is
//! waiting, and another one computes meanwhile.
//!
//! `--include-ignored` runs those too that are not in the short run; see
//! `long_run`.

mod document;
mod e2e;
mod long_run;
mod matrix;
mod platform;
mod shared;
mod soak;
mod trial;

use shared::Shared;
use std::process::ExitCode;
use trial::Trial;
use vdeploy_tests::Base;

fn main() -> ExitCode {
    if let Some(ended) = soak::asked_for() {
        return ended;
    }
    trial::run(trials())
}

fn trials() -> Vec<Trial> {
    let cloud = Shared::new(Base::start);
    let mut trials = platform::trials();
    trials.extend(matrix::trials(&cloud));
    trials.extend(soak::trials());
    trials.extend(e2e::trials(&cloud));
    let names: Vec<String> = trials.iter().map(|trial| trial.name.clone()).collect();
    trials.extend(document::trials(&names));
    trials
}
