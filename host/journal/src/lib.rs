//! The append-only record of runs: intents and results, and what else must
//! outlive the process (leases, target facts, plugin state).

pub mod breaks;
pub mod changed;
#[cfg(any(test, feature = "testing"))]
pub mod doubles;
pub mod entry;
pub mod moment;
pub mod moves;
pub mod plugin_state;
pub mod prune;
pub mod recording;
pub mod sqlite;
pub mod standing;
pub mod store;
pub mod unfinished;

pub use entry::Entry;
pub use plugin_state::{Owners, StoreState};
pub use sqlite::SqliteStore;
pub use store::{Store, StoreError};
