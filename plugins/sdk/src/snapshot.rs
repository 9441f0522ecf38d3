//! Snapshots of this run's target.

use crate::{Error, backend};

/// Got from [`crate::Cx::snapshot`].
#[derive(Debug, Clone, Copy)]
pub struct Snapshots(pub(crate) ());

impl Snapshots {
    /// Takes a snapshot and returns its id. A change. One label makes one
    /// snapshot in a run.
    ///
    /// # Errors
    /// `snapshot.denied`, `snapshot.unsupported`, `snapshot.failed`.
    pub fn create(self, label: &str) -> Result<String, Error> {
        backend::snapshot_create(label)
    }

    /// Makes a new VM from the snapshot and returns its id; it is this run's
    /// target from then on. The old VM is left as it is. A change.
    ///
    /// # Errors
    /// As [`Snapshots::create`].
    pub fn restore(self, id: &str) -> Result<String, Error> {
        backend::snapshot_restore(id)
    }

    /// Whether the platform knows the snapshot. A probe.
    ///
    /// # Errors
    /// As [`Snapshots::create`].
    pub fn exists(self, id: &str) -> Result<bool, Error> {
        backend::snapshot_exists(id)
    }

    /// Pauses a VM that a restore left. A change.
    ///
    /// # Errors
    /// As [`Snapshots::create`].
    pub fn pause_old(self, vm: &str) -> Result<(), Error> {
        backend::snapshot_pause_old(vm)
    }

    /// Says that this plugin has made a snapshot of the target by its own
    /// means, that it is whole, and that the plugin can bring the target back
    /// to it by `id`. A change; needs the grant `self-managed`. Until then the plugin
    /// with that grant may run commands that change the target; a step that
    /// did so and returns without a declaration has failed.
    ///
    /// # Errors
    /// `snapshot.denied`, `snapshot.invalid` for an id or label that cannot be
    /// shown in one line.
    pub fn declare(self, id: &str, label: &str) -> Result<(), Error> {
        backend::snapshot_declare(id, label)
    }
}
