//! What the gate is told about one capability call.

mod http;
mod local;
mod make;
pub mod pass;
mod read_back;
mod snapshot;
mod ssh;

use serde_json::Value;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::function::{Access, HostFunction};

/// What a call does to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    Probe,
    /// Changes something that is not the target: the host's store, a third
    /// party.
    Change,
    ChangeTarget,
    /// Takes the snapshot that allows the changes after it.
    TakeSnapshot,
}

impl Effect {
    pub fn is_change(self) -> bool {
        self != Self::Probe
    }

    /// Whether the table of functions allows it.
    pub(crate) fn is_allowed_for(self, function: HostFunction) -> bool {
        match function.access() {
            Access::Probe => !self.is_change(),
            Access::Change => self.is_change(),
            Access::ByCall => true,
        }
    }
}

/// What a resumed run does with a call whose result is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenInDoubt {
    /// Make it again: the capability finds out whether it happened, or twice is
    /// the same as once.
    Retry,
    /// Tell the plugin that it may have happened.
    Report,
}

/// One call, described before it is made.
#[derive(Clone, Debug)]
pub struct Call {
    pub function: HostFunction,
    /// For a person, for example `ssh git fetch origin`.
    pub action: String,
    /// The arguments, for the journal. Secrets stand in it by name only.
    pub request: Value,
    pub effect: Effect,
    /// Whether the plugin's grants cover it; the error has the line to add.
    pub grant: Result<(), EffectError>,
    /// Answered by the host at once: journaled, and not worth an event.
    pub quiet: bool,
    /// Takes so long that its beginning is journaled although it changes
    /// nothing.
    pub lasting: bool,
    pub in_doubt: WhenInDoubt,
}
