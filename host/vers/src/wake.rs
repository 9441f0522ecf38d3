//! A target that does not answer: asks the platform for its VM, and resumes it if
//! it is suspended.

use super::api::types::VmState;
use super::snapshot::VersSnapshot;
use vdeploy_core::capability::snapshot::{Progress, Wake};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

/// The error code of a target that does not answer.
const CODE: &str = codes::SSH_UNREACHABLE;

impl VersSnapshot {
    /// See [`vdeploy_core::capability::snapshot::Snapshot::wake`].
    pub(super) async fn woken(
        &self,
        change: bool,
        progress: &dyn Progress,
    ) -> Result<Wake, EffectError> {
        let vm = self.vm()?;
        progress.doing(&format!("asking the platform for the state of VM {vm}"));
        let known = self.client.status(&vm).await;
        let state = known.map_err(|e| e.into_effect(CODE, false))?.state;
        let wrong = |kind, message| Err(EffectError::new(kind, CODE, message));
        match &state {
            VmState::Running => {
                return Ok(Wake::NotNeeded(format!(
                    "the platform says that VM {vm} runs: check its SSH server and its network"
                )));
            }
            VmState::Dead => {
                return wrong(
                    ErrorKind::NotFound,
                    format!(
                        "VM {vm} is dead: restore the old version on a new VM \
                         (`vdeploy rollback --to snapshot`), or name another VM in the target"
                    ),
                );
            }
            VmState::Paused | VmState::Sleeping if !change => {
                return wrong(
                    ErrorKind::Unavailable,
                    format!("VM {vm} is {state}; a run that may change the target resumes it"),
                );
            }
            VmState::Paused | VmState::Sleeping => progress.warn(&format!(
                "VM {vm} was {state} and is resumed; if a rollback had replaced it with a new VM, stop \
                 this run and name the new one in the target"
            )),
            _ => {}
        }
        let within = self.config.running_within;
        self.client
            .wait_running(&vm, within, progress)
            .await
            .map_err(|e| e.into_effect(CODE, false))?;
        let within = self.config.reached_within;
        self.ssh.wait_reachable_vm(&vm, within, progress).await?;
        Ok(Wake::Woken)
    }
}
