//! What happens in a run and how it ends, as plain data. Written by `run` and
//! `gate`, read by `journal` and `report`; knows none of them.

pub mod outcome;
mod run_event;

pub use outcome::Outcome;
pub use run_event::{
    CheckStatus, Level, Phase, RunEvent, Section, StepFailure, Undoes, command_ok,
    says_no_live_version,
};
