//! What people and machines see of a run. Everything here derives from
//! [`RunEvent`]s (already masked) and stored runs; nothing here changes a run,
//! and a screen or pipe that is gone never stops one.
//!
//! Where it goes:
//!
//! | mode | stdout | stderr |
//! |---|---|---|
//! | terminal | live steps and result ([`HumanReporter`]) | errors before a run begins |
//! | no terminal, or `TERM=dumb` | lines and result ([`PlainReporter`]) | the same |
//! | `--json` | one JSON object a line, nothing else ([`JsonReporter`]) | text for people |
//!
//! So `vdeploy run | cat` shows all of it, and `vdeploy run --json | jq` never
//! sees a line that is no JSON. `--junit FILE` and GitHub's annotations come on
//! top.

pub mod atomic_file;
mod bus;
pub mod difference;
mod github;
mod json;
mod junit;
mod model;
mod output_mode;
pub mod prune;
pub mod runs;
mod sink;
mod text;
mod wording;

#[cfg(test)]
mod script;

pub use bus::EventBus;
pub use github::{GithubReporter, harmless};
pub use json::JsonReporter;
pub use junit::JunitReporter;
pub use output_mode::{Progress, Screen, Surroundings, choose};
pub use sink::Sink;
pub use text::live::HumanReporter;
pub use text::plain::PlainReporter;

use vdeploy_core::event::RunEvent;

/// Shows events. Called in order, one at a time, never on a runtime thread: it
/// may block, and it must not fail.
pub trait Reporter: Send {
    /// One happening.
    fn event(&mut self, event: &RunEvent);
}
