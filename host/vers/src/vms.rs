//! Calls about VMs: list, state, pause, restore, branch, delete, SSH key.

use super::api::client::VersClient;
use super::api::error::VersError;
use super::api::request::{Answer, Call};
use super::api::types::{Branched, KeyAnswer, PowerState, Vm, VmKey};
use super::progress::with_progress;
use super::reconcile::Poll;
use async_trait::async_trait;
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeSet;
use vdeploy_core::backoff::deadline;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::ids::{SnapshotId, VmId};
use vdeploy_ssh::KeySource;

impl VersClient {
    /// Every VM of the organisation, including those of other accounts in it.
    pub async fn vms(&self) -> Result<Vec<Vm>, VersError> {
        match self
            .send(Call::get("list VMs", &["vms"], self.call_timeout))
            .await
        {
            // Newer servers may have only the other path.
            Err(VersError::NotFound { .. } | VersError::Status { status: 405, .. }) => {
                let call = Call::get("list VMs", &["vm"], self.call_timeout);
                self.send(call).await?.json()
            }
            other => other?.json(),
        }
    }

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

    pub async fn ssh_key(&self, vm: &VmId) -> Result<VmKey, VersError> {
        let path = ["vm", vm.as_str(), "ssh_key"];
        let call = Call::get(format!("SSH key of VM {vm}"), &path, self.call_timeout);
        let answer: KeyAnswer = self.send(call).await?.json()?;
        Ok(VmKey {
            private_key: SecretValue::new(answer.ssh_private_key),
            port: answer.ssh_port,
        })
    }

    /// Requests a state; `status` tells when it is reached.
    pub async fn set_state(&self, vm: &VmId, state: PowerState) -> Result<(), VersError> {
        let ask = |word: &'static str| async move {
            self.send(Call {
                name: format!("set VM {vm} to {word}"),
                method: Method::PATCH,
                path: &["vm", vm.as_str(), "state"],
                query: &[],
                body: Some(json!({ "state": word })),
                timeout: self.call_timeout,
                wakes: word == "Running",
            })
            .await
        };
        match state {
            PowerState::Running => ask("Running").await?,
            // Some versions use another word.
            PowerState::Paused => match ask("Paused").await {
                Err(VersError::Status { status: 422, .. }) => ask("Sleeping").await?,
                other => other?,
            },
        };
        Ok(())
    }

    /// Deletes a VM for good. Commits of it remain.
    pub async fn delete(&self, vm: &VmId) -> Result<(), VersError> {
        // The answer for an unknown VM is that of a wrong key: check first.
        self.status(vm).await?;
        self.send(Call {
            name: format!("delete VM {vm}"),
            method: Method::DELETE,
            path: &["vm", vm.as_str()],
            query: &[],
            body: None,
            timeout: self.call_timeout,
            wakes: false,
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
                wakes: false,
            })
            .await?;
        made_vms(&name, count as usize, &answer)
    }

    /// Makes a VM from a commit. Without an answer it searches the list for the new
    /// VM; a call that may have had its effect is never repeated.
    pub async fn restore(
        &self,
        commit: &SnapshotId,
        progress: &dyn Progress,
    ) -> Result<VmId, VersError> {
        let name = format!("restore commit {commit}");
        let before = self.vms().await.map_err(|e| match e.maybe_applied() {
            true => VersError::NotReady(format!("{e}; nothing was restored")),
            false => e,
        })?;
        let before: BTreeSet<VmId> = before.into_iter().map(|vm| vm.vm_id).collect();
        let restoring = self.send(Call {
            name: name.clone(),
            method: Method::POST,
            path: &["vm", "from_commit"],
            query: &[],
            body: Some(json!({ "commit_id": commit.as_str() })),
            timeout: self.commit_timeout,
            wakes: false,
        });
        let text = format!("making a VM from snapshot {commit}");
        let made = with_progress(progress, &text, restoring)
            .await
            .and_then(|answer| made_vms(&name, 1, &answer));
        let cause = match made {
            Ok(vms) => match vms.into_iter().next() {
                Some(vm) => return Ok(vm),
                None => VersError::NotReady(format!("{name}: no VM came")),
            },
            Err(cause) if cause.maybe_applied() => cause,
            Err(error) => return Err(error),
        };
        let text = format!("{cause}; looking for the new VM, to avoid making a second one");
        match with_progress(progress, &text, self.find_restored(commit, &before)).await {
            Ok(vm) => Ok(vm),
            Err(looked) => Err(VersError::InDoubt {
                call: name,
                cause: Box::new(cause),
                looked,
            }),
        }
    }

    /// Polls for the VM. The error says what was found instead.
    async fn find_restored(
        &self,
        commit: &SnapshotId,
        before: &BTreeSet<VmId>,
    ) -> Result<VmId, String> {
        let mut poll = Poll::until(deadline(self.reconcile_for));
        let mut unrelated = BTreeSet::new();
        let mut last = String::new();
        loop {
            match self.restored_since(commit, before, &mut unrelated).await {
                Ok(found) => match found.as_slice() {
                    [one] => return Ok(one.clone()),
                    [] => last.clear(),
                    many => {
                        let ids: Vec<&str> = many.iter().map(VmId::as_str).collect();
                        return Err(format!(
                            "several new VMs come from the commit ({}); delete those that are not \
                             needed and start again",
                            ids.join(", ")
                        ));
                    }
                },
                Err(error) => last = format!(" ({error})"),
            }
            if !poll.wait().await {
                return Err(format!(
                    "no new VM of the commit appeared{last}; check the VM list before you start \
                     again"
                ));
            }
        }
    }

    /// New VMs from the commit. `unrelated` remembers the others.
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
}

/// The VMs that a call made, in either form of the answer.
fn made_vms(call: &str, count: usize, answer: &Answer) -> Result<Vec<VmId>, VersError> {
    let vms: Vec<VmId> = match answer.json()? {
        Branched::One(vm) => vec![vm.vm_id],
        Branched::Many { vms } => vms.into_iter().map(|vm| vm.vm_id).collect(),
    };
    if vms.len() == count {
        return Ok(vms);
    }
    Err(VersError::Answer {
        call: call.to_owned(),
        why: format!("{count} VMs were asked for and {} came", vms.len()),
        body: format!("{vms:?}"),
    })
}

#[async_trait]
impl KeySource for VersClient {
    async fn private_key(&self, vm: &VmId) -> Result<SecretValue, EffectError> {
        let key = self.ssh_key(vm).await.map_err(VersError::into_login)?;
        Ok(key.private_key)
    }
}
