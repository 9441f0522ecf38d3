//! The gate: the one path of every effect.
//!
//! `plugin → WIT import → GATE { grant? · check phase? · cancelled? · dry run? ·
//! snapshot taken? · journal intent · perform · journal result · mask · event }
//! → capability → the world`. A plugin has no other way out.
//!
//! The gate knows capabilities, grants and the journal. It does not know WASM
//! or plans.

mod call;
mod cancellation;
mod decide;
mod journaled;
mod shared;
mod snapshot_state;
mod source;

pub use call::pass::Gate;
pub use call::{Call, Effect};
pub use cancellation::{Broken, Cancellation};
pub use decide::budget::{Budget, MAX_CALLS, MAX_IN_FLIGHT, MAX_JOURNAL};
pub use decide::rules::{Decision, Situation, decide, stopped};
pub use journaled::journal_writer::JournalWriter;
pub use journaled::recorder::Recorder;
pub use shared::{ResumePoint, RunShared};
pub use snapshot_state::{SnapshotState, Snapshots};
pub use source::recorded_calls::{CallOutcome, RecordedCall, RecordedCalls};
pub use source::replay::{ReplaySource, ReplayStop, ReplaySummary, Segment};
