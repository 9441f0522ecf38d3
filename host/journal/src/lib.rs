//! The append-only record of runs: intents and results, and what else must
//! outlive the process (leases, target facts, plugin state).

#[cfg(any(test, feature = "testing"))]
pub mod doubles;
pub mod effective;
pub mod entry;
pub mod interrupted;
pub mod lease_breaks;
pub mod moment;
pub mod plugin_state;
pub mod prune;
pub mod recording;
pub mod relocations;
pub mod run_view;
pub mod sqlite;
pub mod store;

pub use entry::Entry;
pub use plugin_state::{Owners, StoreState};
pub use run_view::RunView;
pub use sqlite::SqliteStore;
pub use store::{Store, StoreError};
