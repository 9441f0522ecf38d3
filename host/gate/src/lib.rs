//! The gate: the one path every effect takes.
//!
//! `plugin → WIT import → GATE { grant? · check phase? · cancelled? · dry run? ·
//! snapshot taken? · journal intent · perform · journal result · mask · event }
//! → capability → the world`. There is no other way out of a plugin.
//!
//! The gate knows capabilities, grants and the journal. It does not know WASM
//! or plans.

mod budget;
mod call;
mod from_journal;
mod http;
mod lease_guard;
mod lineage;
mod local;
mod pass;
mod read_back;
mod recorded_calls;
mod replay;
mod rules;
mod shared;
mod snapshot;
mod ssh;

pub use budget::{Budget, MAX_CALLS, MAX_IN_FLIGHT, MAX_JOURNAL, TOO_MUCH};
pub use call::{Call, Effect};
pub use pass::Gate;
pub use recorded_calls::{CallOutcome, RecordedCall, RecordedCalls};
pub use replay::{ReplayStop, ReplaySummary, Segment};
pub use rules::{Decision, LATE, Situation, decide, stopped};
pub use shared::{Broken, ResumePoint, RunShared};
