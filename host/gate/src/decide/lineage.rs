//! What a restore and a pause may touch: snapshots of the run's own target, and
//! VMs that a restore has left. Ids of anything else of the account are refused
//! although the platform would take them.

use crate::call::pass::Gate;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::ids::{RunId, SnapshotId, VmId};
use vdeploy_journal::{RunView, StoreError};

impl Gate {
    /// Whether a restore of this run, or of the run that it rolls back, has
    /// left the VM. In a dry run the restore was not made: what it would leave
    /// is still the target.
    pub(crate) fn may_pause(&self, vm: &VmId) -> Result<(), EffectError> {
        let shared = &self.shared;
        if shared.dry_run && shared.target().vm.as_ref() == Some(vm) {
            return Ok(());
        }
        let left = self.either_run(|run| run.relocations.iter().any(|r| r.from == Some(vm)));
        match left {
            Ok(true) => Ok(()),
            Ok(false) => Err(EffectError::new(
                ErrorKind::Denied,
                codes::SNAPSHOT_NOT_LEFT,
                format!(
                    "no restore of this run, or of the run that it rolls back, left VM {vm}, so \
                     it is not paused"
                ),
            )),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Whether the snapshot was taken in this run or in the run that it rolls
    /// back. A journal that cannot be read has none.
    pub(crate) fn has_recorded(&self, id: &SnapshotId) -> bool {
        // What a plugin declared is its word only.
        let taken = |run: &RunView<'_>| {
            let mut snapshots = run.snapshots.iter();
            snapshots.any(|snapshot| snapshot.provider.is_none() && snapshot.id == id)
        };
        self.either_run(taken).unwrap_or(false)
    }

    /// Refuses a snapshot of which nobody knows that it is one of the target.
    pub(crate) async fn may_restore(&self, id: &SnapshotId) -> Result<(), EffectError> {
        if self.has_recorded(id) || self.shared.world.snapshot.is_of_target(id).await? {
            return Ok(());
        }
        Err(EffectError::new(
            ErrorKind::Denied,
            codes::SNAPSHOT_NOT_OF_TARGET,
            format!(
                "snapshot {id} was not taken in this run or in the run that it rolls back, and \
                 the platform does not say that it is one of this target; it is not restored"
            ),
        ))
    }

    /// Whether this is so of this run or of the run that it rolls back.
    fn either_run(&self, is: impl Fn(&RunView<'_>) -> bool) -> Result<bool, StoreError> {
        let shared = &self.shared;
        let has = |run: &RunId| -> Result<bool, StoreError> {
            let journal = shared.recorder.journal.store().journal(run)?;
            Ok(is(&RunView::of(&journal)))
        };
        if has(&shared.run)? {
            return Ok(true);
        }
        let record = shared.recorder.journal.store().run(shared.run.as_str())?;
        record.rolls_back.as_ref().map_or(Ok(false), has)
    }
}

fn unreadable(error: &StoreError) -> EffectError {
    EffectError::new(
        ErrorKind::Unavailable,
        codes::GATE_JOURNAL,
        format!("the journal cannot be read: {error}"),
    )
}
