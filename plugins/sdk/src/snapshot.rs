//! Snapshots of the target.

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

    /// Makes a new VM from the snapshot and returns its id; it becomes the target
    /// of this run. The old VM stays as it is. A change.
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

    /// Declares that this plugin made a complete snapshot of the target and can
    /// restore it by `id`. A change; needs the grant `self-managed`. With that
    /// grant the plugin may change the target before the declaration, to make
    /// the snapshot; a step that did so and returns without a declaration has
    /// failed.
    ///
    /// # Errors
    /// `snapshot.denied`, `snapshot.invalid` for an id or label that does not
    /// fit into one line.
    pub fn declare(self, id: &str, label: &str) -> Result<(), Error> {
        backend::snapshot_declare(id, label)
    }
}
