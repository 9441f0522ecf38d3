//! A trial, and the one scheduler for all of them: the longest first, a fixed
//! number at a time, and the slowest ones named at the end.

use crate::long_run;
use anyhow::Result;
use libtest_mimic::{Arguments, Failed};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A trial. Its name is its id: documents name it so.
pub struct Trial {
    pub name: String,
    run: Box<dyn FnOnce() -> Result<()> + Send>,
}

/// Trials that take longest, by the beginning of their names. They begin first,
/// so that none of them is left alone at the end.
const LONGEST: &[&str] = &[
    "soak::",
    "matrix::",
    "vers::deploy-else-snapshot::new-vm",
    "network::",
];

/// How many of the slowest trials are named.
const NAMED: usize = 10;

/// A file to which each trial's seconds and name are appended.
const TIMES: &str = "VDEPLOY_TEST_TIMES";

/// How long each trial took.
type Times = Arc<Mutex<Vec<(Duration, String)>>>;

impl Trial {
    pub fn new(name: impl Into<String>, run: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }

    fn timed(self, times: Times) -> libtest_mimic::Trial {
        let name = self.name.clone();
        let run = move || {
            let began = Instant::now();
            let ended = (self.run)();
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            times.push((began.elapsed(), name));
            ended.map_err(|error| Failed::from(format!("{error:?}")))
        };
        let waits = long_run::has(&self.name);
        libtest_mimic::Trial::test(self.name, run).with_ignored_flag(waits)
    }
}

/// Runs those that the arguments choose.
pub fn run(mut trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a trial is waiting: for a service, for the end of a window.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(cores * 4);
    let rank = |trial: &Trial| {
        let place = LONGEST.iter().position(|long| trial.name.starts_with(long));
        place.unwrap_or(LONGEST.len())
    };
    trials.sort_by_key(rank);
    let times = Times::default();
    let trials = trials.into_iter().map(|trial| trial.timed(times.clone()));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let mut times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    times.sort();
    times.reverse();
    if let Err(error) = report(&times) {
        eprintln!("the times were not written: {error:#}");
    }
    // `process::exit` would leave clouds running.
    conclusion.exit_code()
}

/// To whoever started this program and asks for it, else to a person.
fn report(times: &[(Duration, String)]) -> Result<()> {
    let lines = |times: &[(Duration, String)]| -> Result<String> {
        let mut text = String::new();
        for (time, name) in times {
            writeln!(text, "{:7.1} {name}", time.as_secs_f64())?;
        }
        Ok(text)
    };
    if let Some(file) = std::env::var_os(TIMES) {
        std::fs::write(file, lines(times)?)?;
    } else if times.len() > 1 {
        let slowest = times.get(..NAMED.min(times.len())).unwrap_or(times);
        print!("slowest, in seconds:\n{}\n", lines(slowest)?);
    }
    Ok(())
}
