//! The append-only record of runs: intents and results, and what else must
//! outlive the process (leases, target facts, plugin state).

pub mod entry;
pub mod store;

pub use entry::Entry;
pub use store::{Store, StoreError};
