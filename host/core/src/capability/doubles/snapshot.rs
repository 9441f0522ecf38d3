//! Snapshots that exist only here.

use crate::capability::snapshot::{Progress, Snapshot};
use crate::capability::{EffectError, ErrorKind};
use crate::codes;
use crate::ids::{SnapshotId, VmId};
use crate::target::TargetHandle;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

/// Refuses every call.
#[derive(Debug, Default)]
pub struct DenySnapshot;

impl DenySnapshot {
    fn denied<T>() -> Result<T, EffectError> {
        Err(EffectError::new(
            ErrorKind::Denied,
            codes::SNAPSHOT_DENIED,
            "snapshots are refused: there is no target here",
        ))
    }
}

#[async_trait]
impl Snapshot for DenySnapshot {
    async fn create(&self, _: &str, _: &dyn Progress) -> Result<SnapshotId, EffectError> {
        Self::denied()
    }
    async fn restore(&self, _: &SnapshotId, _: &dyn Progress) -> Result<VmId, EffectError> {
        Self::denied()
    }
    async fn exists(&self, _: &SnapshotId) -> Result<bool, EffectError> {
        Self::denied()
    }
    async fn pause_old(&self, _: &VmId) -> Result<(), EffectError> {
        Self::denied()
    }
    async fn created(
        &self,
        _: &str,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError> {
        Self::denied()
    }
    async fn restored(
        &self,
        _: &SnapshotId,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        Self::denied()
    }
}

/// A call that a [`RecordingSnapshot`] got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotCall {
    /// With the label.
    Create(String),
    /// With the snapshot.
    Restore(SnapshotId),
    /// With the snapshot.
    Exists(SnapshotId),
    /// With the VM.
    PauseOld(VmId),
    /// With the label: what came of it?
    Created(String),
    /// With the snapshot: what came of it?
    Restored(SnapshotId),
}

/// Snapshots in memory: they are named `snapshot-1`, `snapshot-2`, …, restored
/// VMs `vm-of-snapshot-1-1`, …; a restore moves the target.
#[derive(Debug)]
pub struct RecordingSnapshot {
    target: TargetHandle,
    inner: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    calls: Vec<SnapshotCall>,
    labels: Vec<String>,
    restores: usize,
    restored: Vec<(SnapshotId, VmId)>,
    failures: VecDeque<EffectError>,
}

impl RecordingSnapshot {
    /// Snapshots of this target.
    pub fn new(target: TargetHandle) -> Self {
        Self {
            target,
            inner: Mutex::default(),
        }
    }

    /// The next call that is not answered yet fails with `error`.
    pub fn fail_next(&self, error: EffectError) {
        self.lock().failures.push_back(error);
    }

    /// The calls, in order.
    pub fn calls(&self) -> Vec<SnapshotCall> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn begin(&self, call: SnapshotCall) -> Result<MutexGuard<'_, Recorded>, EffectError> {
        let mut inner = self.lock();
        inner.calls.push(call);
        match inner.failures.pop_front() {
            Some(error) => Err(error),
            None => Ok(inner),
        }
    }
}

impl Recorded {
    fn has(&self, id: &SnapshotId) -> bool {
        (1..=self.labels.len()).any(|n| id.as_str() == format!("snapshot-{n}"))
    }
}

#[async_trait]
impl Snapshot for RecordingSnapshot {
    async fn create(&self, label: &str, _: &dyn Progress) -> Result<SnapshotId, EffectError> {
        let mut inner = self.begin(SnapshotCall::Create(label.to_owned()))?;
        let known = inner.labels.iter().position(|l| l == label);
        let at = known.unwrap_or_else(|| {
            inner.labels.push(label.to_owned());
            inner.labels.len() - 1
        });
        Ok(SnapshotId::new(format!("snapshot-{}", at + 1)))
    }

    async fn restore(&self, id: &SnapshotId, _: &dyn Progress) -> Result<VmId, EffectError> {
        let mut inner = self.begin(SnapshotCall::Restore(id.clone()))?;
        if !inner.has(id) {
            return Err(EffectError::new(
                ErrorKind::NotFound,
                codes::SNAPSHOT_FAILED,
                format!("there is no snapshot {id}"),
            ));
        }
        inner.restores += 1;
        let vm = VmId::new(format!("vm-of-{id}-{}", inner.restores));
        inner.restored.push((id.clone(), vm.clone()));
        self.target.move_to(vm.clone());
        Ok(vm)
    }

    async fn exists(&self, id: &SnapshotId) -> Result<bool, EffectError> {
        let inner = self.begin(SnapshotCall::Exists(id.clone()))?;
        Ok(inner.has(id))
    }

    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError> {
        let inner = self.begin(SnapshotCall::PauseOld(vm.clone()))?;
        drop(inner);
        match self.target.facts().vm.as_ref() == Some(vm) {
            true => Err(EffectError::new(
                ErrorKind::Invalid,
                codes::SNAPSHOT_CURRENT_TARGET,
                format!("VM {vm} is the run's target and is not paused; name the old one"),
            )),
            false => Ok(()),
        }
    }

    async fn created(
        &self,
        label: &str,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError> {
        let inner = self.begin(SnapshotCall::Created(label.to_owned()))?;
        let known = inner.labels.iter().position(|l| l == label);
        Ok(known.map(|at| SnapshotId::new(format!("snapshot-{}", at + 1))))
    }

    async fn restored(
        &self,
        id: &SnapshotId,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        let inner = self.begin(SnapshotCall::Restored(id.clone()))?;
        let now = self.target.facts().vm;
        let made = inner
            .restored
            .iter()
            .rev()
            .find(|(of, vm)| of == id && Some(vm) != now.as_ref());
        let vm = made.map(|(_, vm)| vm.clone());
        if let Some(vm) = &vm {
            self.target.move_to(vm.clone());
        }
        Ok(vm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::snapshot::NoProgress;

    #[tokio::test]
    async fn a_recorded_snapshot_restores_once_made_and_fails_when_told() {
        let target = TargetHandle::vers("infra".into(), "one".into(), "https://{vm}");
        let s = RecordingSnapshot::new(target.clone());
        let a = s.create("pre", &NoProgress).await.unwrap();
        assert_eq!(s.create("pre", &NoProgress).await.unwrap(), a);
        assert!(s.restore(&"snapshot-2".into(), &NoProgress).await.is_err());
        let vm = s.restore(&a, &NoProgress).await.unwrap();
        assert_eq!(target.facts().vm, Some(vm.clone()));
        assert!(s.pause_old(&vm).await.is_err());
        s.pause_old(&"one".into()).await.unwrap();
        s.fail_next(EffectError::new(ErrorKind::Failed, "snapshot.failed", "x"));
        assert!(s.exists(&a).await.is_err());
        assert!(s.exists(&a).await.unwrap());
        assert_eq!(s.calls().len(), 8);
    }
}
