//! The gate: the one path of every effect.
//!
//! `plugin → WIT import → GATE { grant? · check phase? · cancelled? · dry run? ·
//! snapshot taken? · journal intent · perform · journal result · mask · event }
//! → capability → the world`. A plugin has no other way out.
//!
//! The gate knows capabilities, grants and the journal. It does not know WASM
//! or plans.

mod budget;
mod call;
mod call_source;
mod cancellation;
mod from_journal;
mod http;
mod journal_writer;
mod lease_guard;
mod lineage;
mod local;
mod make;
mod pass;
mod read_back;
mod recorded_calls;
mod recorder;
mod replay;
mod resume;
mod rules;
mod shared;
mod snapshot;
mod snapshot_state;
mod ssh;

pub use budget::{Budget, MAX_CALLS, MAX_IN_FLIGHT, MAX_JOURNAL};
pub use call::{Call, Effect};
pub use cancellation::{Broken, Cancellation};
pub use journal_writer::JournalWriter;
pub use pass::Gate;
pub use recorded_calls::{CallOutcome, RecordedCall, RecordedCalls};
pub use recorder::Recorder;
pub use replay::{ReplaySource, ReplayStop, ReplaySummary, Segment};
pub use rules::{Decision, Situation, decide, stopped};
pub use shared::{ResumePoint, RunShared};
pub use snapshot_state::{SnapshotState, Snapshots};
