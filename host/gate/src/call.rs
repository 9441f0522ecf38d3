//! What the gate is told about one capability call.

use serde_json::Value;
use vdeploy_core::capability::EffectError;

/// What a call does to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Reads only.
    Probe,
    /// Changes something that is not the target: the host's store, a third
    /// party.
    Change,
    /// Changes the run's target.
    ChangeTarget,
    /// Takes the snapshot that allows the changes after it.
    TakeSnapshot,
}

impl Effect {
    /// Whether it is more than reading.
    pub fn is_change(self) -> bool {
        self != Self::Probe
    }
}

/// What a resumed run does with a call whose result is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenInDoubt {
    /// Make it again: the capability finds what came of it, or doing it twice
    /// is doing it once.
    Retry,
    /// Tell the plugin that it may have happened.
    Report,
}

/// One call, described before it is made.
#[derive(Clone, Debug)]
pub struct Call {
    /// Interface and function, for example `ssh.exec`.
    pub function: &'static str,
    /// For a person, for example `ssh git fetch origin`.
    pub action: String,
    /// The arguments, for the journal. Secrets stand in it by name only.
    pub request: Value,
    /// What it does.
    pub effect: Effect,
    /// Whether the plugin's grants cover it; the error has the line to add.
    pub grant: Result<(), EffectError>,
    /// Answered by the host at once: journaled, and not worth an event.
    pub quiet: bool,
    /// Takes so long that its beginning is journaled although it changes
    /// nothing.
    pub lasting: bool,
    /// What is to be done when it is not known whether it happened.
    pub in_doubt: WhenInDoubt,
}
