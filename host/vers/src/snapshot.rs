//! Snapshots of the run's target as Vers commits.

use super::api::client::VersClient;
use super::api::error::VersError;
use super::api::types::{PowerState, VmState};
use super::commits::CommitMark;
use super::progress::with_progress;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use vdeploy_core::capability::snapshot::{Progress, Snapshot, Wake};
use vdeploy_core::capability::ssh::{Command, NoLiveOutput, Output, Ssh as _};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::ids::{RunId, SnapshotId, VmId};
use vdeploy_core::target::TargetHandle;
use vdeploy_ssh::RusshSsh;

/// Characters; the rest of a label is cut in a commit's name.
const LONGEST_NAME: usize = 64;

/// For `sync` on the VM.
const SYNC_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub struct SnapshotConfig {
    /// Stored with each commit.
    pub run: RunId,
    /// How long a VM may take to start.
    pub running_within: Duration,
    /// How long a running VM may take to answer SSH.
    pub reached_within: Duration,
    /// A name that a restored VM must resolve; `None` is the API's.
    pub resolves: Option<String>,
}

impl SnapshotConfig {
    /// A new run, with 3 minutes for each wait.
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            running_within: Duration::from_secs(180),
            reached_within: Duration::from_secs(180),
            resolves: None,
        }
    }
}

/// Takes and restores commits of the run's target.
#[derive(Debug)]
pub struct VersSnapshot {
    pub(super) client: Arc<VersClient>,
    target: TargetHandle,
    pub(super) ssh: Arc<RusshSsh>,
    pub(super) config: SnapshotConfig,
    /// What this process took, with its label. The lock serialises calls.
    taken: Mutex<Vec<(VmId, String, SnapshotId)>>,
}

impl VersSnapshot {
    /// `ssh` is the run's connection: after a restore it connects to the new VM.
    pub fn new(
        client: Arc<VersClient>,
        target: TargetHandle,
        ssh: Arc<RusshSsh>,
        config: SnapshotConfig,
    ) -> Self {
        Self {
            client,
            target,
            ssh,
            config,
            taken: Mutex::default(),
        }
    }

    pub(super) fn vm(&self) -> Result<VmId, EffectError> {
        self.target.facts().vm.ok_or_else(|| {
            EffectError::new(
                ErrorKind::Invalid,
                codes::SNAPSHOT_UNSUPPORTED,
                "the target is no VM of the platform, so there is no snapshot of it",
            )
        })
    }

    /// Name and description of the commit for this label.
    fn name_and_description(&self, label: &str) -> (String, String) {
        let name = label.chars().take(LONGEST_NAME).collect();
        let description = format!("vdeploy run {}: {label}", self.config.run);
        (name, description)
    }

    /// Waits until a restored VM is reachable, and moves the target there.
    async fn move_to(
        &self,
        new: VmId,
        id: &SnapshotId,
        progress: &dyn Progress,
    ) -> Result<VmId, EffectError> {
        let old = self.vm()?;
        let reach = async {
            self.client
                .wait_running(&new, self.config.running_within, progress)
                .await
                .map_err(|e| failed(e, true))?;
            // The disk was copied, and with it the host key.
            self.ssh.carry_host_key(&old, &new)?;
            self.ssh
                .wait_reachable_vm(&new, self.config.reached_within, progress)
                .await
        };
        // The target moves only when the new VM is reachable.
        reach.await.map_err(|mut e| {
            e.message = format!(
                "VM {new} was made from snapshot {id}, but it is not usable yet ({}); the target is \
                 still VM {old}; delete VM {new} if it is not needed",
                e.message
            );
            e.in_doubt()
        })?;
        self.target.move_to(new.clone());
        self.check_names(&new, progress).await;
        Ok(new)
    }

    /// Runs `sync` on the VM: a snapshot can lose data that is only in the kernel's
    /// cache. Returns whether it succeeded; the caller takes the snapshot either way,
    /// since a broken VM may be its reason.
    async fn sync(&self, vm: &VmId, progress: &dyn Progress) -> bool {
        let mut command = Command::new("sync");
        command.timeout = SYNC_TIMEOUT;
        let text = format!("writing everything to the disk of VM {vm}");
        let done = with_progress(progress, &text, self.ssh.run(&command, &NoLiveOutput)).await;
        let why = match done {
            Ok(output) if output.exit_code == Some(0) => return true,
            Ok(Output {
                exit_code: Some(code),
                ..
            }) => format!("`sync` ended with status {code}"),
            Ok(_) => "`sync` did not end by itself".to_owned(),
            Err(error) => error.message,
        };
        progress.warn(&format!(
            "not everything may be on the disk of VM {vm} ({why}); what was written last can be \
             missing in the snapshot"
        ));
        false
    }

    /// Resumes the VM if the commit left it paused, as some versions do, and reconnects
    /// if the connection did not survive the pause.
    async fn ensure_running(
        &self,
        vm: &VmId,
        id: SnapshotId,
        was_reached: bool,
        progress: &dyn Progress,
    ) -> Result<SnapshotId, EffectError> {
        progress.doing(&format!("checking that VM {vm} still runs"));
        let runs = async {
            let within = self.config.running_within;
            self.client
                .wait_running(vm, within, progress)
                .await
                .map_err(|e| failed(e, true))?;
            if was_reached && self.ssh.verify_connection().await.is_err() {
                let within = self.config.reached_within;
                self.ssh.wait_reachable_vm(vm, within, progress).await?;
            }
            Ok(())
        };
        match runs.await {
            Ok(()) => Ok(id),
            Err(e) => {
                let mut e: EffectError = e;
                e.message = format!("the snapshot {id} was taken, but {}", e.message);
                Err(e.in_doubt())
            }
        }
    }
}

fn failed(error: VersError, change: bool) -> EffectError {
    error.into_effect(codes::SNAPSHOT_FAILED, change)
}

#[async_trait]
impl Snapshot for VersSnapshot {
    async fn create(
        &self,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<SnapshotId, EffectError> {
        let vm = self.vm()?;
        let mut taken = self.taken.lock().await;
        if let Some((_, _, id)) = taken.iter().find(|(v, l, _)| *v == vm && l == label) {
            let id = id.clone();
            drop(taken);
            return self.ensure_running(&vm, id, false, progress).await;
        }
        let (name, description) = self.name_and_description(label);
        let reached = self.sync(&vm, progress).await;
        let _still = self.target.stand_still();
        let id = self
            .client
            .commit(&vm, &name, &description, progress)
            .await
            .map_err(|e| failed(e, true))?;
        taken.push((vm.clone(), label.to_owned(), id.clone()));
        drop(taken);
        self.ensure_running(&vm, id, reached, progress).await
    }

    async fn restore(&self, id: &SnapshotId, progress: &dyn Progress) -> Result<VmId, EffectError> {
        self.vm()?;
        let made = self.client.restore(id, progress).await;
        let new = made.map_err(|e| failed(e, true))?;
        self.move_to(new, id, progress).await
    }

    async fn created(
        &self,
        label: &str,
        since: u64,
        progress: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError> {
        let vm = self.vm()?;
        let (name, description) = self.name_and_description(label);
        let mark = CommitMark {
            vm: &vm,
            name: &name,
            description: &description,
            since: None,
        };
        let found = self.client.earlier_commit(mark, since, progress).await;
        let Some(id) = found.map_err(|e| failed(e, false))? else {
            return Ok(None);
        };
        let mut taken = self.taken.lock().await;
        taken.push((vm.clone(), label.to_owned(), id.clone()));
        drop(taken);
        self.ensure_running(&vm, id, false, progress)
            .await
            .map(Some)
    }

    async fn restored(
        &self,
        id: &SnapshotId,
        since: u64,
        progress: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        let now = self.vm()?;
        let found = self.client.earlier_restore(id, &now, since, progress).await;
        match found.map_err(|e| failed(e, true))? {
            Some(new) => self.move_to(new, id, progress).await.map(Some),
            None => Ok(None),
        }
    }

    async fn exists(&self, id: &SnapshotId) -> Result<bool, EffectError> {
        self.client
            .has_commit(id)
            .await
            .map_err(|e| failed(e, false))
    }

    async fn is_of_target(&self, id: &SnapshotId) -> Result<bool, EffectError> {
        let vm = self.vm()?;
        let is = self.client.is_of_line(id, &vm).await;
        is.map_err(|e| failed(e, false))
    }

    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError> {
        if self.target.facts().vm.as_ref() == Some(vm) {
            return Err(EffectError::new(
                ErrorKind::Invalid,
                codes::SNAPSHOT_CURRENT_TARGET,
                format!("VM {vm} is the run's target and is not paused; name the old one"),
            ));
        }
        let state = self.client.status(vm).await.map_err(|e| failed(e, false))?;
        if matches!(state.state, VmState::Paused | VmState::Sleeping) {
            return Ok(());
        }
        self.client
            .set_state(vm, PowerState::Paused)
            .await
            .map_err(|e| failed(e, true))
    }

    async fn wake(&self, change: bool, progress: &dyn Progress) -> Result<Wake, EffectError> {
        self.woken(change, progress).await
    }
}
