//! The Vers platform: its REST API as far as a deploy needs it, and snapshots
//! on top of it.
//!
//! Tolerant where versions of the API differ. Knows nothing of plugins,
//! grants or journals.

mod client;
mod clock;
mod commits;
mod earlier;
mod error;
mod excerpt;
mod lineage;
mod names;
mod progress;
mod registry;
mod request;
mod running;
mod snapshot;
#[cfg(test)]
mod tests;
mod types;
mod vms;
mod wake;

pub use client::{VersClient, VersConfig};
pub use error::VersError;
pub use registry::{RegistryError, RegistryQuery};
pub use snapshot::{SnapshotConfig, VersSnapshot};
pub use types::{Commit, PowerState, Vm, VmKey, VmState};
