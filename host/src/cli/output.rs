//! Which reporters a run gets, from the arguments and the surroundings.

use super::error::CliError;
use super::invocation::GlobalFlags;
use super::run::OutputArgs;
use crate::event::RunEvent;
use crate::report::{
    GithubReporter, HumanReporter, JsonReporter, JunitReporter, PlainReporter, Progress, Reporter,
    Screen, Sink, Surroundings, choose,
};
use std::io::IsTerminal as _;

/// The reporters, in the order in which they are told.
pub fn reporters(
    args: &OutputArgs,
    verbose: bool,
    flags: &GlobalFlags,
) -> Result<Vec<Box<dyn Reporter>>, CliError> {
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let asked = if args.json {
        Progress::Json
    } else {
        Progress::Auto
    };
    let around = Surroundings {
        terminal: std::io::stdout().is_terminal(),
        term: env("TERM"),
        no_color: env("NO_COLOR").is_some(),
        ci: env("CI").is_some_and(|v| v != "false"),
    };
    let mut all: Vec<Box<dyn Reporter>> = Vec::new();
    let github = env("GITHUB_ACTIONS").as_deref() == Some("true");
    match choose(asked, &around) {
        Screen::Plain if github => {
            all.push(Box::new(GithubReporter::new(Sink::stdout(), verbose)));
        }
        Screen::Json => all.push(Box::new(JsonReporter::new(Sink::stdout()))),
        Screen::Plain => all.push(Box::new(PlainReporter::new(Sink::stdout(), verbose))),
        Screen::Live { colour } => all.push(Box::new(HumanReporter::stdout(colour, verbose))),
    }
    if let Some(path) = &args.junit {
        let junit = JunitReporter::create(path, Sink::stderr())
            .map_err(|e| CliError::usage(format!("--junit {}: {e}", path.display())))?;
        all.push(Box::new(junit));
    }
    let complete = |inner| -> Box<dyn Reporter> {
        let flags = flags.clone();
        Box::new(Complete { inner, flags })
    };
    Ok(all.into_iter().map(complete).collect())
}

/// Passes events on, with commands that can be pasted.
struct Complete {
    inner: Box<dyn Reporter>,
    flags: GlobalFlags,
}

impl Reporter for Complete {
    fn event(&mut self, event: &RunEvent) {
        let mut event = event.clone();
        match &mut event {
            RunEvent::RunFinished { message, next, .. } => {
                *message = self.flags.complete(message).into_owned();
                *next = self.flags.complete_all(std::mem::take(next));
            }
            RunEvent::Log {
                step: None,
                message,
                ..
            } => *message = self.flags.complete(message).into_owned(),
            _ => {}
        }
        self.inner.event(&event);
    }
}
