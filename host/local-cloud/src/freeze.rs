//! Makes all processes of a VM stand still, go on, or end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::error::LocalError;
use super::process::{self, ProcessName};
use super::vm::Vm;

/// How long processes may take to stop or to end after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// The processes that [`freeze`] stopped.
pub(super) struct Frozen {
    stopped: Vec<ProcessName>,
}

impl Frozen {
    /// Lets the processes go on.
    pub(super) fn thaw(self) {
        for name in &self.stopped {
            name.signal(Signal::CONT);
        }
    }
}

/// All living processes of a VM; see [`process::of_vm`].
pub(super) async fn members(vm: &Arc<Vm>) -> Result<BTreeSet<ProcessName>, LocalError> {
    let vm = Arc::clone(vm);
    tokio::task::spawn_blocking(move || process::of_vm(&vm))
        .await
        .map_err(|_| LocalError::CutOff)
}

/// Stops all processes of a VM, also those that are started meanwhile.
///
/// # Errors
/// [`LocalError::Stuck`] when one does not stop in time; then all go on.
pub(super) async fn freeze(vm: &Arc<Vm>) -> Result<Frozen, LocalError> {
    let mut frozen = Frozen { stopped: vec![] };
    let deadline = Instant::now() + GRACE;
    let mut pause = Duration::from_millis(1);
    loop {
        let active: Vec<_> = members(vm)
            .await?
            .into_iter()
            .filter(|name| name.is_active())
            .collect();
        if active.is_empty() {
            return Ok(frozen);
        }
        if Instant::now() >= deadline {
            frozen.thaw();
            return Err(LocalError::Stuck {
                vm: vm.id,
                count: active.len(),
                what: "stop",
            });
        }
        for name in active {
            if !frozen.stopped.contains(&name) {
                frozen.stopped.push(name);
            }
            name.signal(Signal::STOP);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Lets every process of a VM go on.
pub(super) async fn resume(vm: &Arc<Vm>) -> Result<(), LocalError> {
    for name in members(vm).await? {
        if name.is_stopped() {
            name.signal(Signal::CONT);
        }
    }
    Ok(())
}

/// Ends every process of a VM: asks first, insists after a grace.
///
/// # Errors
/// [`LocalError::Stuck`] when one does not even end after SIGKILL.
pub(super) async fn end(vm: &Arc<Vm>) -> Result<(), LocalError> {
    if ended(vm, &[Signal::TERM, Signal::CONT], GRACE).await? == 0 {
        return Ok(());
    }
    match ended(vm, &[Signal::KILL], GRACE).await? {
        0 => Ok(()),
        count => Err(LocalError::Stuck {
            vm: vm.id,
            count,
            what: "end",
        }),
    }
}

/// Signals every process once, newcomers too, and waits; answers how many live at the deadline.
async fn ended(vm: &Arc<Vm>, signals: &[Signal], grace: Duration) -> Result<usize, LocalError> {
    let mut told = BTreeSet::new();
    let deadline = Instant::now() + grace;
    let mut pause = Duration::from_millis(2);
    loop {
        let living = members(vm).await?;
        if living.is_empty() || Instant::now() >= deadline {
            return Ok(living.len());
        }
        for name in living {
            if told.insert(name) {
                signals.iter().for_each(|signal| name.signal(*signal));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
