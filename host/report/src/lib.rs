//! What people and machines see of a run. Everything here derives from
//! [`RunEvent`]s, which are masked already, and from stored runs. Nothing here
//! changes a run, and a terminal or pipe that goes away never stops one.
//!
//! | mode | stdout | stderr |
//! |---|---|---|
//! | terminal | a live line, finished steps, the summary ([`LiveReporter`]) | errors before a run begins |
//! | no terminal, or `TERM=dumb` | lines and the summary ([`PlainReporter`]) | the same |
//! | `--json` | one JSON object a line, nothing else ([`JsonReporter`]) | text for people |
//!
//! So `vdeploy run | cat` shows all of it, and every line that
//! `vdeploy run --json | jq` reads is JSON. [`FILE_REPORTS`] and GitHub's
//! annotations come on top.

mod bus;
mod file;
mod github;
mod json;
pub mod model;
mod output_mode;
mod sink;
mod stored;
mod text;
mod wording;

#[cfg(test)]
mod script;

pub use bus::EventBus;
pub use file::atomic_file;
pub use file::{FileReport, FileReporter};
pub use github::{GithubReporter, escape_workflow_commands};
pub use json::JsonReporter;
pub use model::RunModel;
pub use output_mode::{OutputMode, TerminalInfo};
pub use sink::Sink;
pub use stored::{difference, prune, runs};
pub use text::{LiveReporter, PlainReporter};

use vdeploy_core::event::RunEvent;

/// Every kind of file that a run can leave. A new one is a file with a `REPORT`
/// and a row here; the commands take their flags from this list.
pub const FILE_REPORTS: &[FileReport] = &[file::junit::REPORT];

/// Shows the events of one run.
pub trait Reporter: Send {
    /// Called in order, one event at a time, never on a runtime thread: it may
    /// block, and it must not fail. `model` has the event already.
    fn event(&mut self, model: &RunModel, event: &RunEvent);
}
