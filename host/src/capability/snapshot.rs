//! Snapshots of the run's target. Scopes: `create`, `restore`.

use super::error::EffectError;
use crate::ids::{SnapshotId, VmId};
use async_trait::async_trait;
use std::fmt::Debug;

/// Says what is being waited for, for the screen.
pub trait Progress: Send + Sync {
    /// One line, present tense.
    fn doing(&self, text: &str);
}

/// Takes and restores snapshots of the run's target.
#[async_trait]
pub trait Snapshot: Send + Sync + Debug {
    /// Takes one. `label` is stored with it and is how an unanswered call is
    /// found again.
    async fn create(&self, label: &str, progress: &dyn Progress)
    -> Result<SnapshotId, EffectError>;
    /// Makes a VM from it, waits until it is reached by SSH, and moves the
    /// run's target there.
    async fn restore(&self, id: &SnapshotId, progress: &dyn Progress) -> Result<VmId, EffectError>;
    /// Whether the platform knows it.
    async fn exists(&self, id: &SnapshotId) -> Result<bool, EffectError>;
    /// Pauses a VM that is no longer the run's target.
    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError>;
}
