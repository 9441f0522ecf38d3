//! Snapshots that exist only here.

use crate::capability::snapshot::{Progress, Snapshot};
use crate::capability::{EffectError, ErrorKind};
use crate::codes;
use crate::ids::{SnapshotId, VmId};
use crate::target::TargetHandle;
use async_trait::async_trait;
use std::sync::{Mutex, MutexGuard};

/// Snapshots in memory: they are named `snapshot-1`, `snapshot-2`, …, restored
/// VMs `vm-of-snapshot-1-1`, …; a restore moves the target.
#[derive(Debug)]
pub struct MemorySnapshots {
    target: TargetHandle,
    inner: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    labels: Vec<String>,
    restores: usize,
    restored: Vec<(SnapshotId, VmId)>,
}

impl MemorySnapshots {
    /// Snapshots of this target.
    pub fn new(target: TargetHandle) -> Self {
        Self {
            target,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Recorded {
    fn has(&self, id: &SnapshotId) -> bool {
        (1..=self.labels.len()).any(|n| id.as_str() == format!("snapshot-{n}"))
    }
}

#[async_trait]
impl Snapshot for MemorySnapshots {
    async fn create(&self, label: &str, _: &dyn Progress) -> Result<SnapshotId, EffectError> {
        let mut inner = self.lock();
        let known = inner.labels.iter().position(|l| l == label);
        let at = known.unwrap_or_else(|| {
            inner.labels.push(label.to_owned());
            inner.labels.len() - 1
        });
        Ok(SnapshotId::new(format!("snapshot-{}", at + 1)))
    }

    async fn restore(&self, id: &SnapshotId, _: &dyn Progress) -> Result<VmId, EffectError> {
        let mut inner = self.lock();
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
        let inner = self.lock();
        Ok(inner.has(id))
    }

    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError> {
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
        let inner = self.lock();
        let known = inner.labels.iter().position(|l| l == label);
        Ok(known.map(|at| SnapshotId::new(format!("snapshot-{}", at + 1))))
    }

    async fn restored(
        &self,
        id: &SnapshotId,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        let inner = self.lock();
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
