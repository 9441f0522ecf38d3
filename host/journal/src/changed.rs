//! Whether a run has changed its target, read from its journal entry by entry.

use super::entry::Entry;
use std::collections::BTreeSet;

/// The calls that have changed the target, or may have.
#[derive(Clone, Debug, Default)]
pub struct TargetChanged {
    by: BTreeSet<u64>,
}

impl TargetChanged {
    /// The next entry.
    pub fn read(&mut self, entry: &Entry) {
        match entry {
            Entry::Intent {
                call,
                changes_target: true,
                ..
            } => {
                self.by.insert(*call);
            }
            Entry::Result {
                call,
                response: Err(error),
                ..
            } if !error.maybe_applied => {
                self.by.remove(call);
            }
            _ => {}
        }
    }

    /// Whether one has, or may have, up to here.
    pub fn is_changed(&self) -> bool {
        !self.by.is_empty()
    }
}
