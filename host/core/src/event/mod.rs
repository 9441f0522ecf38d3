//! The events of a run and its outcome, as plain data. `run` and `gate` write
//! them; `journal` and `report` read them.

pub mod outcome;
mod run_event;

pub use outcome::Outcome;
pub use run_event::{
    CheckStatus, Level, Phase, RunEvent, Section, StepFailure, Undoes, command_ok,
    says_no_live_version,
};
