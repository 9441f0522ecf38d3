//! Waits until a VM runs. A running VM may not be reachable yet.

use super::api::client::VersClient;
use super::api::error::VersError;
use super::api::types::{PowerState, VmState};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use vdeploy_core::backoff::{Backoff, Patience, deadline};
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::ids::VmId;

impl VersClient {
    /// Waits until the VM runs; resumes a suspended one. Retries passing errors: a VM
    /// left suspended because of one lost answer would be worse than any wait.
    pub async fn wait_running(
        &self,
        vm: &VmId,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), VersError> {
        let deadline = deadline(limit);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut patience = Patience::start();
        let mut reported = String::new();
        let mut resumed = false;
        loop {
            let now = match self.status(vm).await {
                Ok(vm) => match vm.state {
                    VmState::Running => return Ok(()),
                    VmState::Dead => {
                        return Err(VersError::NotReady(format!(
                            "VM {vm} is dead; restore another snapshot",
                            vm = vm.vm_id
                        )));
                    }
                    state @ (VmState::Paused | VmState::Sleeping) if !resumed => {
                        progress.doing(&format!(
                            "resuming VM {vm}, which is {state}",
                            vm = vm.vm_id
                        ));
                        match self.set_state(&vm.vm_id, PowerState::Running).await {
                            Ok(()) => {
                                resumed = true;
                                format!("it is {state}")
                            }
                            Err(error) if error.may_pass() => error.to_string(),
                            Err(error) => return Err(error),
                        }
                    }
                    state => format!("it is {state}"),
                },
                // A new VM may not be known everywhere at once.
                Err(VersError::NotFound { .. }) => "the platform does not know it yet".to_owned(),
                Err(error) if error.may_pass() => error.to_string(),
                Err(error) => return Err(error),
            };
            if reported != now || patience.is_due() {
                let since = match patience.seconds() {
                    0 => String::new(),
                    seconds => format!(", for {seconds} s"),
                };
                progress.doing(&format!("waiting until VM {vm} runs{since} ({now})"));
                reported.clone_from(&now);
            }
            let wait = backoff.next_wait();
            if Instant::now() + wait >= deadline {
                return Err(VersError::NotReady(format!(
                    "VM {vm} does not run after {} s: {now}",
                    limit.as_secs_f64()
                )));
            }
            sleep(wait).await;
        }
    }
}
