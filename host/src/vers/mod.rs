//! The Vers platform: its REST API as far as a deploy needs it, and snapshots
//! on top of it.
//!
//! Tolerant where versions of the API differ. Knows nothing of plugins,
//! grants or journals.

mod client;
mod commits;
mod error;
mod request;
mod snapshot;
#[cfg(test)]
mod tests;
mod types;
mod vms;

pub use client::{VersClient, VersConfig};
pub use error::VersError;
pub use snapshot::{SnapshotConfig, VersSnapshot};
pub use types::{Commit, PowerState, Vm, VmKey, VmState};
