//! Calls about VMs: list, look, pause, restore, branch, delete, key.

use super::client::VersClient;
use super::error::VersError;
use super::request::Call;
use super::types::{Branched, KeyAnswer, OneVm, PowerState, Vm, VmKey, VmState};
use crate::backoff::{Backoff, deadline};
use crate::capability::EffectError;
use crate::capability::secrets::SecretValue;
use crate::capability::snapshot::Progress;
use crate::ids::{SnapshotId, VmId};
use crate::ssh::KeySource;
use async_trait::async_trait;
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl VersClient {
    /// Every VM of the organisation, also those of other accounts in it.
    pub async fn vms(&self) -> Result<Vec<Vm>, VersError> {
        match self
            .send(Call::get("list VMs", &["vms"], self.call_timeout))
            .await
        {
            // Newer servers may know the other path only.
            Err(VersError::NotFound { .. } | VersError::Status { status: 405, .. }) => {
                let call = Call::get("list VMs", &["vm"], self.call_timeout);
                self.send(call).await?.json()
            }
            other => other?.json(),
        }
    }

    /// A VM with its state.
    pub async fn status(&self, vm: &VmId) -> Result<Vm, VersError> {
        let path = ["vm", vm.as_str(), "status"];
        let call = Call::get(format!("status of VM {vm}"), &path, self.call_timeout);
        self.send(call).await?.json()
    }

    /// A VM with the commit it was restored from.
    pub async fn metadata(&self, vm: &VmId) -> Result<Vm, VersError> {
        let path = ["vm", vm.as_str(), "metadata"];
        let call = Call::get(format!("metadata of VM {vm}"), &path, self.call_timeout);
        self.send(call).await?.json()
    }

    /// The key to log in with.
    pub async fn ssh_key(&self, vm: &VmId) -> Result<VmKey, VersError> {
        let path = ["vm", vm.as_str(), "ssh_key"];
        let call = Call::get(format!("SSH key of VM {vm}"), &path, self.call_timeout);
        let answer: KeyAnswer = self.send(call).await?.json()?;
        Ok(VmKey {
            private_key: SecretValue::new(answer.ssh_private_key),
            port: answer.ssh_port,
        })
    }

    /// Asks for a state; `status` tells when it is reached.
    pub async fn set_state(&self, vm: &VmId, state: PowerState) -> Result<(), VersError> {
        let ask = |word: &'static str| async move {
            self.send(Call {
                name: format!("set VM {vm} to {word}"),
                method: Method::PATCH,
                path: &["vm", vm.as_str(), "state"],
                query: &[],
                body: Some(json!({ "state": word })),
                timeout: self.call_timeout,
            })
            .await
        };
        match state {
            PowerState::Running => ask("Running").await?,
            // Some versions have another word for it.
            PowerState::Paused => match ask("Paused").await {
                Err(VersError::Status { status: 422, .. }) => ask("Sleeping").await?,
                other => other?,
            },
        };
        Ok(())
    }

    /// Deletes a VM for good. Commits of it remain.
    pub async fn delete(&self, vm: &VmId) -> Result<(), VersError> {
        // Deleting an unknown VM is answered like a wrong key: look first.
        self.status(vm).await?;
        self.send(Call {
            name: format!("delete VM {vm}"),
            method: Method::DELETE,
            path: &["vm", vm.as_str()],
            query: &[],
            body: None,
            timeout: self.call_timeout,
        })
        .await?;
        Ok(())
    }

    /// Starts `count` copies of a running VM or of a commit.
    pub async fn branch(&self, vm_or_commit: &str, count: u32) -> Result<Vec<VmId>, VersError> {
        let name = format!("branch {vm_or_commit}");
        let answer = self
            .send(Call {
                name: name.clone(),
                method: Method::POST,
                path: &["vm", vm_or_commit, "branch"],
                query: &[("count", count.to_string())],
                body: None,
                timeout: self.commit_timeout,
            })
            .await?;
        let vms = match answer.json()? {
            Branched::One(vm) => vec![vm.vm_id],
            Branched::Many { vms } => vms.into_iter().map(|vm| vm.vm_id).collect(),
        };
        if vms.len() != count as usize {
            return Err(VersError::Answer {
                call: name,
                why: format!("{count} VMs were asked for and {} came", vms.len()),
                body: format!("{vms:?}"),
            });
        }
        Ok(vms)
    }

    /// Makes a VM from a commit. Without an answer the new VM is looked for
    /// in the list; the call is never made twice.
    pub async fn restore(&self, commit: &SnapshotId) -> Result<VmId, VersError> {
        let name = format!("restore commit {commit}");
        let before = self.vms().await.map_err(|e| match e.maybe_applied() {
            true => VersError::NotReady(format!("{e}; nothing was restored")),
            false => e,
        })?;
        let before: BTreeSet<VmId> = before.into_iter().map(|vm| vm.vm_id).collect();
        let made = self
            .send(Call {
                name: name.clone(),
                method: Method::POST,
                path: &["vm", "from_commit"],
                query: &[],
                body: Some(json!({ "commit_id": commit.as_str() })),
                timeout: self.commit_timeout,
            })
            .await
            .and_then(|answer| answer.json::<OneVm>());
        match made {
            Ok(vm) => Ok(vm.vm_id),
            Err(cause) if cause.maybe_applied() => {
                self.find_restored(name, commit, &before, cause).await
            }
            Err(error) => Err(error),
        }
    }

    async fn find_restored(
        &self,
        call: String,
        commit: &SnapshotId,
        before: &BTreeSet<VmId>,
        cause: VersError,
    ) -> Result<VmId, VersError> {
        let deadline = deadline(self.reconcile_for);
        let mut backoff = Backoff::up_to(Duration::from_secs(5));
        let mut unrelated = BTreeSet::new();
        let looked = loop {
            match self.restored_since(commit, before, &mut unrelated).await {
                Ok(found) => match found.as_slice() {
                    [one] => return Ok(one.clone()),
                    [] => {}
                    many => {
                        let ids: Vec<&str> = many.iter().map(VmId::as_str).collect();
                        break format!(
                            "several new VMs stem from the commit ({}); delete those that are not \
                             needed and start again",
                            ids.join(", ")
                        );
                    }
                },
                Err(error) => tracing::debug!(%error, "looking for the restored VM"),
            }
            let wait = backoff.next_wait();
            if Instant::now() + wait >= deadline {
                break "no new VM of the commit appeared; look at the VM list before starting \
                       again"
                    .to_owned();
            }
            sleep(wait).await;
        };
        Err(VersError::InDoubt {
            call,
            cause: Box::new(cause),
            looked,
        })
    }

    /// New VMs that stem from the commit. `unrelated` remembers the others.
    async fn restored_since(
        &self,
        commit: &SnapshotId,
        before: &BTreeSet<VmId>,
        unrelated: &mut BTreeSet<VmId>,
    ) -> Result<Vec<VmId>, VersError> {
        let mut found = Vec::new();
        for vm in self.vms().await? {
            if before.contains(&vm.vm_id) || unrelated.contains(&vm.vm_id) {
                continue;
            }
            match self.metadata(&vm.vm_id).await?.parent_commit_id {
                Some(parent) if parent == *commit => found.push(vm.vm_id),
                Some(_) => {
                    unrelated.insert(vm.vm_id);
                }
                None => {}
            }
        }
        Ok(found)
    }

    /// Waits until the VM runs; one that is frozen is told to go on.
    pub async fn wait_running(
        &self,
        vm: &VmId,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), VersError> {
        let deadline = deadline(limit);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut said = None;
        let mut resumed = false;
        loop {
            let state = match self.status(vm).await {
                Ok(vm) => vm.state,
                // A new VM may not be in every list at once.
                Err(VersError::NotFound { .. }) => VmState::Unknown,
                Err(error) => return Err(error),
            };
            match state {
                VmState::Running => return Ok(()),
                VmState::Dead => {
                    return Err(VersError::NotReady(format!(
                        "VM {vm} is dead; restore another snapshot"
                    )));
                }
                VmState::Paused | VmState::Sleeping if !resumed => {
                    progress.doing(&format!("resuming VM {vm}, which is {state}"));
                    self.set_state(vm, PowerState::Running).await?;
                    resumed = true;
                }
                _ => {}
            }
            let text = format!("waiting until VM {vm} runs (it is {state})");
            if said.as_ref() != Some(&text) {
                progress.doing(&text);
                said = Some(text);
            }
            let wait = backoff.next_wait();
            if Instant::now() + wait >= deadline {
                return Err(VersError::NotReady(format!(
                    "VM {vm} does not run after {} s; it is {state}",
                    limit.as_secs_f64()
                )));
            }
            sleep(wait).await;
        }
    }
}

#[async_trait]
impl KeySource for VersClient {
    async fn private_key(&self, vm: &VmId) -> Result<SecretValue, EffectError> {
        match self.ssh_key(vm).await {
            Ok(key) => Ok(key.private_key),
            Err(error @ VersError::Unreachable { .. }) => {
                Err(error.into_effect("ssh.unreachable", false))
            }
            Err(error) => Err(error.into_effect("ssh.auth", false)),
        }
    }
}
