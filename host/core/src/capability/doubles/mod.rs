//! Capabilities that answer from a function or from memory and keep what was
//! asked, for tests of everything above them.

mod http;
mod snapshot;
mod ssh;

pub use http::RecordingHttp;
pub use snapshot::MemorySnapshots;
pub use ssh::RecordingSsh;
