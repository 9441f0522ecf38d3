//! Which snapshots this run has, and whether it changed the target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use vdeploy_core::ids::{SnapshotId, StepId};

/// The snapshots of a run.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// One was taken, or the operator waived it: the target may be changed.
    pub stands: bool,
    /// The rollback point: the first one, taken before the target was changed.
    pub first: Option<SnapshotId>,
    /// Those of the platform.
    pub by_label: BTreeMap<String, SnapshotId>,
    /// Those that a plugin made.
    pub declared: BTreeSet<SnapshotId>,
    /// The step that changed the target to make a snapshot and has not declared
    /// it yet.
    pub owed_by: Option<StepId>,
}

#[derive(Debug, Default)]
pub struct SnapshotState(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    snapshots: Snapshots,
    target_changed: bool,
}

impl SnapshotState {
    pub(super) fn resumed(snapshots: Snapshots, target_changed: bool) -> Self {
        Self(Mutex::new(State {
            snapshots,
            target_changed,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether the target may be changed as far as snapshots go.
    pub fn allows_changes(&self) -> bool {
        self.lock().snapshots.stands
    }

    /// The first snapshot of this run, taken before its changes.
    pub fn rollback_point(&self) -> Option<SnapshotId> {
        self.lock().snapshots.first.clone()
    }

    /// The platform's snapshot with this label, taken earlier in this run.
    pub(super) fn with_label(&self, label: &str) -> Option<SnapshotId> {
        self.lock().snapshots.by_label.get(label).cloned()
    }

    /// Whether a plugin has declared this one in this run.
    pub(super) fn is_declared(&self, id: &SnapshotId) -> bool {
        self.lock().snapshots.declared.contains(id)
    }

    /// The platform took a snapshot.
    pub(super) fn taken(&self, label: &str, id: &SnapshotId) {
        let mut state = self.lock();
        state.add(id);
        let labels = &mut state.snapshots.by_label;
        labels.insert(label.to_owned(), id.clone());
    }

    /// A plugin declared a snapshot of its own.
    pub(super) fn declared(&self, id: &SnapshotId) {
        let mut state = self.lock();
        state.add(id);
        state.snapshots.declared.insert(id.clone());
        state.snapshots.owed_by = None;
    }

    pub(super) fn waived(&self) {
        self.lock().snapshots.stands = true;
    }

    /// The step changes the target to make a snapshot.
    pub(super) fn prepared_by(&self, step: &StepId) {
        self.lock().snapshots.owed_by = Some(step.clone());
    }

    /// Whether the step did that and has declared none since.
    pub(super) fn is_owed_by(&self, step: &StepId) -> bool {
        self.lock().snapshots.owed_by.as_ref() == Some(step)
    }

    /// Whether the target was changed, or may have been.
    pub fn target_changed(&self) -> bool {
        self.lock().target_changed
    }

    /// Returns the value before.
    pub(super) fn set_target_changed(&self, changed: bool) -> bool {
        std::mem::replace(&mut self.lock().target_changed, changed)
    }
}

impl State {
    fn add(&mut self, id: &SnapshotId) {
        self.snapshots.stands = true;
        if !self.target_changed {
            self.snapshots.first.get_or_insert_with(|| id.clone());
        }
    }
}
