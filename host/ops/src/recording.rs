//! One run of the store as one portable value, for a replay anywhere.

use crate::error::OpsError;
use crate::operation::rollback;
use crate::session::Session;
use vdeploy_journal::recording::{Recording, RolledBack};

impl Session {
    /// A run (an id, its beginning, or `latest`), with what it needs of another
    /// one.
    ///
    /// # Errors
    /// The store has no such run.
    pub fn recording(&self, run: &str) -> Result<Recording, OpsError> {
        recording(&*self.store()?, run)
    }
}

/// The same from a store that is open.
///
/// # Errors
/// The store has no such run.
pub fn recording(store: &dyn vdeploy_journal::Store, run: &str) -> Result<Recording, OpsError> {
    let record = store.run(run)?;
    let rolled_back = match &record.rolls_back {
        Some(run) => Some(RolledBack {
            run: run.clone(),
            outputs: rollback::outputs(store, run)?,
        }),
        None => None,
    };
    let journal = store.journal(&record.id)?;
    Ok(Recording {
        record,
        rolled_back,
        journal,
    })
}
