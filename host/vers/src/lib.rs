//! The Vers platform: its REST API as far as a deploy needs it, and snapshots
//! on top of it.
//!
//! Knows nothing of plugins, grants or journals.

mod api;
mod commits;
mod lineage;
mod name_check;
mod progress;
mod reconcile;
mod registry;
mod snapshot;
#[cfg(test)]
mod tests;
mod vms;
mod wait_running;
mod wake;

pub use api::client::{VersClient, VersConfig};
pub use api::error::VersError;
pub use api::types::{Commit, PowerState, Vm, VmKey, VmState};
pub use registry::{RegistryError, RegistryQuery};
pub use snapshot::{SnapshotConfig, VersSnapshot};
