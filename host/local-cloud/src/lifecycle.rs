//! Operations on whole VMs and commits: create, commit, restore, branch, pause, delete.
//!
//! Each operation that changes a VM holds the VM's `lifecycle` lock. A failed operation restores
//! the state before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::core::Core;
use super::error::LocalError;
use super::ports;
use super::state_file::{CommitRecord, VmRecord, VmState, read_json, write_private};
use super::vm::Vm;
use super::vm::service::ServiceList;
use super::vm::snapshot::{Snapshot, remove_dir};
use super::vm::suspend::{self, suspend};

/// What a client may choose for a commit.
#[derive(Default)]
pub(super) struct CommitRequest {
    pub id: Option<Uuid>,
    pub name: Option<String>,
    pub description: Option<String>,
}

/// Where a VM comes from.
#[derive(Default, Clone, Copy)]
struct Origin {
    commit: Option<Uuid>,
    vm: Option<Uuid>,
}

impl Core {
    /// Makes an empty VM.
    pub(super) fn new_root(&self, labels: BTreeMap<String, String>) -> Result<Uuid, LocalError> {
        let vm = self.add_vm(None, Origin::default(), labels)?;
        self.show(&vm)?;
        Ok(vm.id)
    }

    /// Makes the directory and the record of a VM. It is reachable only after [`Core::show`].
    fn add_vm(
        &self,
        snapshot: Option<&Snapshot>,
        origin: Origin,
        labels: BTreeMap<String, String>,
    ) -> Result<Arc<Vm>, LocalError> {
        let id = Uuid::new_v4();
        let app_port = self.change(|records| {
            let taken: BTreeSet<u16> = records.vms.values().map(|vm| vm.app_port).collect();
            let app_port = ports::pick(&taken)?;
            let record = VmRecord {
                created_at: Timestamp::now(),
                state: VmState::Booting,
                app_port,
                parent_commit_id: origin.commit,
                grandparent_vm_id: origin.vm,
                labels,
            };
            records.vms.insert(id, record);
            Ok::<_, LocalError>(app_port)
        })??;
        let host_key = snapshot.map(Snapshot::host_key_file);
        match Vm::create(&self.root, id, app_port, host_key.as_deref()) {
            Ok(vm) => Ok(Arc::new(vm)),
            Err(error) => {
                self.change(|records| records.vms.remove(&id))?;
                Err(error)
            }
        }
    }

    fn show(&self, vm: &Arc<Vm>) -> Result<(), LocalError> {
        self.vm_table().insert(vm.id, Arc::clone(vm));
        self.note_state(vm.id, VmState::Running)
    }

    /// Takes a snapshot of a VM while it is suspended.
    ///
    /// # Errors
    /// Unknown VM, a commit id that is taken, a failed copy; the VM continues as before.
    pub(super) async fn commit(
        &self,
        vm_id: Uuid,
        keep_paused: bool,
        wish: CommitRequest,
    ) -> Result<Uuid, LocalError> {
        let vm = self.vm(vm_id)?;
        let _lifecycle = vm.lifecycle.lock().await;
        let before = self.vm_record(vm_id)?;
        let id = wish.id.unwrap_or_else(Uuid::new_v4);
        if self.records().commits.contains_key(&id) {
            return Err(LocalError::CommitExists(id));
        }
        self.copy_out(&vm, id, keep_paused).await?;
        self.change(|records| {
            let record = CommitRecord {
                name: wish.name.unwrap_or_else(|| id.to_string()),
                description: wish.description,
                created_at: Timestamp::now(),
                parent_vm_id: vm_id,
                grandparent_commit_id: before.parent_commit_id,
            };
            records.commits.insert(id, record);
        })?;
        Ok(id)
    }

    /// Freezes the VM, copies it, and resumes it unless it was paused or `keep_paused`.
    async fn copy_out(&self, vm: &Arc<Vm>, id: Uuid, keep_paused: bool) -> Result<(), LocalError> {
        let suspended = suspend(vm).await?;
        let copied = Snapshot::at(&self.root, id).take(vm, &self.path).await;
        if keep_paused && copied.is_ok() {
            return self.note_state(vm.id, VmState::Paused);
        }
        suspended.resume();
        copied
    }

    /// Makes new VMs from a commit and starts its services.
    pub(super) async fn restore(
        &self,
        commit_id: Uuid,
        count: usize,
    ) -> Result<Vec<Uuid>, LocalError> {
        let _in_use = self.commits_in_use.read().await;
        let commit = self.commit_record(commit_id)?;
        let origin = Origin {
            commit: Some(commit_id),
            vm: Some(commit.parent_vm_id),
        };
        self.restore_many(&Snapshot::at(&self.root, commit_id), origin, count)
            .await
    }

    async fn restore_from(&self, snapshot: &Snapshot, origin: Origin) -> Result<Uuid, LocalError> {
        let services = snapshot.services()?;
        let vm = self.add_vm(Some(snapshot), origin, BTreeMap::new())?;
        if let Err(error) = snapshot.fill_vm(&vm, &self.path).await {
            self.forget(&vm).await?;
            return Err(error);
        }
        self.show(&vm)?;
        if let Some(services) = services {
            services.start_on(&vm);
        }
        Ok(vm.id)
    }

    /// Makes copies of a living VM without leaving a commit.
    pub(super) async fn branch_vm(
        &self,
        vm_id: Uuid,
        keep_paused: bool,
        count: usize,
    ) -> Result<Vec<Uuid>, LocalError> {
        let vm = self.vm(vm_id)?;
        let record = self.vm_record(vm_id)?;
        let id = Uuid::new_v4();
        {
            let _lifecycle = vm.lifecycle.lock().await;
            self.copy_out(&vm, id, keep_paused).await?;
        }
        let snapshot = Snapshot::at(&self.root, id);
        let origin = Origin {
            commit: record.parent_commit_id,
            vm: Some(vm_id),
        };
        let made = self.restore_many(&snapshot, origin, count).await;
        snapshot.remove().await?;
        made
    }

    /// Makes several VMs, or none.
    async fn restore_many(
        &self,
        snapshot: &Snapshot,
        origin: Origin,
        count: usize,
    ) -> Result<Vec<Uuid>, LocalError> {
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            match self.restore_from(snapshot, origin).await {
                Ok(id) => made.push(id),
                Err(error) => {
                    for id in made {
                        self.delete_vm(id).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Suspends the processes of a VM; it is not reachable meanwhile.
    pub(super) async fn pause(&self, id: Uuid) -> Result<(), LocalError> {
        let vm = self.vm(id)?;
        let _lifecycle = vm.lifecycle.lock().await;
        // Set the state first, so that no new command starts while the processes stop.
        let before = self.vm_record(id)?.state;
        self.note_state(id, VmState::Paused)?;
        if let Err(error) = suspend(&vm).await {
            self.note_state(id, before)?;
            return Err(error);
        }
        Ok(())
    }

    pub(super) async fn resume(&self, id: Uuid) -> Result<(), LocalError> {
        let vm = self.vm(id)?;
        let _lifecycle = vm.lifecycle.lock().await;
        suspend::resume(&vm).await?;
        self.note_state(id, VmState::Running)?;
        self.unpark(&vm)
    }

    fn note_state(&self, id: Uuid, state: VmState) -> Result<(), LocalError> {
        self.change(|records| {
            if let Some(vm) = records.vms.get_mut(&id) {
                vm.state = state;
            }
        })
    }

    /// Ends the processes of a VM and removes it with all its files.
    pub(super) async fn delete_vm(&self, id: Uuid) -> Result<(), LocalError> {
        let vm = self.vm(id)?;
        let _lifecycle = vm.lifecycle.lock().await;
        if self.vm_table().remove(&id).is_none() {
            return Err(LocalError::NoSuchVm(id));
        }
        vm.cut.send_replace(true);
        suspend::end(&vm).await?;
        self.forget(&vm).await
    }

    async fn forget(&self, vm: &Vm) -> Result<(), LocalError> {
        self.change(|records| records.vms.remove(&vm.id))?;
        remove_dir(&vm.dir).await
    }

    /// # Errors
    /// Unknown commit, or VMs restored from it still live.
    pub(super) async fn delete_commit(&self, id: Uuid) -> Result<(), LocalError> {
        let _no_restores = self.commits_in_use.write().await;
        self.commit_record(id)?;
        let vms = self
            .records()
            .vms
            .values()
            .filter(|vm| vm.parent_commit_id == Some(id))
            .count();
        if vms > 0 {
            return Err(LocalError::CommitInUse { vms });
        }
        self.change(|records| records.commits.remove(&id))?;
        Snapshot::at(&self.root, id).remove().await
    }

    /// Records the services of every VM for the next start, and ends all processes.
    pub(super) async fn park_all(&self) -> Result<(), LocalError> {
        for vm in self.all_vms() {
            let _lifecycle = vm.lifecycle.lock().await;
            let noted = Arc::clone(&vm);
            let services = tokio::task::spawn_blocking(move || ServiceList::of(&noted))
                .await
                .map_err(|_| LocalError::Interrupted)?;
            if services.len() > 0 {
                write_private(&vm.parked_file(), &services)?;
            }
            suspend::end(&vm).await?;
        }
        Ok(())
    }

    /// After a start: resumes running VMs (a cloud that was killed during a commit left them
    /// suspended), and restarts the services that stopped with the cloud.
    pub(super) async fn revive_all(&self) -> Result<(), LocalError> {
        for vm in self.all_vms() {
            if self.is_running(vm.id) {
                suspend::resume(&vm).await?;
                self.unpark(&vm)?;
            }
        }
        Ok(())
    }

    fn unpark(&self, vm: &Vm) -> Result<(), LocalError> {
        let file = vm.parked_file();
        if let Some(services) = read_json::<ServiceList>(&file)? {
            std::fs::remove_file(&file).map_err(LocalError::io("remove", &file))?;
            services.start_on(vm);
        }
        Ok(())
    }

    /// Waits until no operation on a VM is in progress.
    pub(super) async fn wait_idle(&self) {
        for vm in self.all_vms() {
            drop(vm.lifecycle.lock().await);
        }
    }
}
