//! Denying and recording implementations of the capabilities, for tests of
//! everything above them and for parts of a world that a run must not have.

mod http;
mod snapshot;
mod ssh;

pub use http::{DenyHttp, RecordingHttp};
pub use snapshot::{DenySnapshot, RecordingSnapshot};
pub use ssh::{DenySsh, RecordingSsh};
