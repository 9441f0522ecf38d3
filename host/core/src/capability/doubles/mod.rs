//! Denying and recording implementations of the capabilities, for tests of
//! everything above them and for parts of a world that a run must not have.

mod http;
mod secrets;
mod snapshot;
mod ssh;
mod state;

pub use http::{DenyHttp, RecordingHttp};
pub use secrets::{DenySecrets, PlaceholderSecrets, RecordingSecrets};
pub use snapshot::{DenySnapshot, RecordingSnapshot};
pub use ssh::{DenySsh, RecordingSsh};
pub use state::{DenyState, RecordingState};
