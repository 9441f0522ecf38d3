//! The cloud behind its listeners: its VMs and commits.
//!
//! Owns the records and the table of reachable VMs; `lifecycle` owns the operations on them. Knows
//! nothing of HTTP, TLS or SSH.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::RwLock;
use uuid::Uuid;

use super::error::LocalError;
use super::state_file::{CommitRecord, ListenPorts, Records, VmRecord, VmState};
use super::vm::Vm;
use super::vm::snapshot::Snapshot;

/// The state of the whole cloud.
pub(super) struct Core {
    pub root: PathBuf,
    /// The bearer key of the REST API.
    pub api_key: String,
    /// `PATH` of every session and service.
    pub path: OsString,
    records: Mutex<Records>,
    vms: Mutex<HashMap<Uuid, Arc<Vm>>>,
    /// Read-locked by restores, write-locked by the removal of a commit.
    pub commits_in_use: RwLock<()>,
}

impl Core {
    /// Opens the VMs that the records name.
    pub(super) fn open(
        root: PathBuf,
        api_key: String,
        path: OsString,
        records: Records,
    ) -> Result<Core, LocalError> {
        let mut records = records;
        // A cloud that was killed while it made a VM or a commit leaves an unfinished one.
        let half_made = |vm: &VmRecord| vm.state == VmState::Booting;
        for (id, _) in records.vms.extract_if(.., |_, vm| half_made(vm)) {
            remove_half(&Vm::dir_of(&root, id));
        }
        Snapshot::partial_ones(&root)
            .iter()
            .for_each(|dir| remove_half(dir));
        let vms = records
            .vms
            .iter()
            .map(|(id, record)| Ok((*id, Arc::new(Vm::open(&root, *id, record.app_port)?))))
            .collect::<Result<_, LocalError>>()?;
        Ok(Core {
            root,
            api_key,
            path,
            records: Mutex::new(records),
            vms: Mutex::new(vms),
            commits_in_use: RwLock::new(()),
        })
    }

    /// For reading; changes go through [`Core::change`].
    pub(super) fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn vm_table(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Vm>>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the records and saves them.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Records) -> T,
    ) -> Result<T, LocalError> {
        let mut records = self.records();
        let value = change(&mut records);
        records.save(&self.root)?;
        Ok(value)
    }

    /// Remembers the ports of the listeners for the next start.
    pub(super) fn keep_ports(&self, ports: ListenPorts) -> Result<(), LocalError> {
        self.change(|records| records.ports = ports)
    }

    /// The owner of everything here.
    pub(super) fn owner_id(&self) -> Uuid {
        self.records().owner_id
    }

    pub(super) fn vm_records(&self) -> BTreeMap<Uuid, VmRecord> {
        self.records().vms.clone()
    }

    pub(super) fn vm_record(&self, id: Uuid) -> Result<VmRecord, LocalError> {
        let found = self.records().vms.get(&id).cloned();
        found.ok_or(LocalError::NoSuchVm(id))
    }

    pub(super) fn vm(&self, id: Uuid) -> Result<Arc<Vm>, LocalError> {
        let found = self.vm_table().get(&id).cloned();
        found.ok_or(LocalError::NoSuchVm(id))
    }

    /// Whether the VM exists and is not paused.
    pub(super) fn is_running(&self, id: Uuid) -> bool {
        self.vm_record(id)
            .is_ok_and(|record| record.state == VmState::Running)
    }

    /// All VMs, for work on each of them.
    pub(super) fn all_vms(&self) -> Vec<Arc<Vm>> {
        self.vm_table().values().cloned().collect()
    }

    /// All commits, newest first.
    pub(super) fn commit_records(&self) -> Vec<(Uuid, CommitRecord)> {
        let mut commits: Vec<_> = self.records().commits.clone().into_iter().collect();
        commits.sort_by_key(|(_, commit)| std::cmp::Reverse(commit.created_at));
        commits
    }

    pub(super) fn commit_record(&self, id: Uuid) -> Result<CommitRecord, LocalError> {
        let found = self.records().commits.get(&id).cloned();
        found.ok_or(LocalError::NoSuchCommit(id))
    }

    /// A commit and its ancestors up to the root.
    pub(super) fn lineage(&self, id: Uuid) -> Result<Vec<(Uuid, CommitRecord)>, LocalError> {
        let mut line = vec![(id, self.commit_record(id)?)];
        let mut next = line
            .first()
            .and_then(|(_, commit)| commit.grandparent_commit_id);
        while let Some(id) = next
            && let Ok(commit) = self.commit_record(id)
        {
            next = commit.grandparent_commit_id;
            line.push((id, commit));
        }
        Ok(line)
    }
}

fn remove_half(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir) {
        tracing::warn!(%error, dir = %dir.display(), "half of a VM or commit stays behind");
    }
}
