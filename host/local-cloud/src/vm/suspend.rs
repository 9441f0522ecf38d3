//! Suspends, resumes or ends all processes of a VM.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::error::LocalError;
use crate::vm::Vm;
use crate::vm::process::{self, ProcessId};

/// How long processes may take to stop or to end after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// The processes that [`suspend`] stopped.
pub(crate) struct Suspended {
    stopped: Vec<ProcessId>,
}

impl Suspended {
    pub(crate) fn resume(self) {
        for name in &self.stopped {
            name.signal(Signal::CONT);
        }
    }
}

/// All living processes of a VM; see [`process::of_vm`].
pub(crate) async fn members(vm: &Arc<Vm>) -> Result<BTreeSet<ProcessId>, LocalError> {
    let vm = Arc::clone(vm);
    tokio::task::spawn_blocking(move || process::of_vm(&vm))
        .await
        .map_err(|_| LocalError::Interrupted)
}

/// Stops all processes of a VM, including those that start meanwhile.
///
/// # Errors
/// [`LocalError::Stuck`] when one does not stop in time; then all are resumed.
pub(crate) async fn suspend(vm: &Arc<Vm>) -> Result<Suspended, LocalError> {
    let mut suspended = Suspended { stopped: vec![] };
    let deadline = Instant::now() + GRACE;
    let mut pause = Duration::from_millis(1);
    loop {
        let active: Vec<_> = members(vm)
            .await?
            .into_iter()
            .filter(|name| name.is_active())
            .collect();
        if active.is_empty() {
            return Ok(suspended);
        }
        if Instant::now() >= deadline {
            suspended.resume();
            return Err(LocalError::Stuck {
                vm: vm.id,
                count: active.len(),
                what: "stop",
            });
        }
        for name in active {
            if !suspended.stopped.contains(&name) {
                suspended.stopped.push(name);
            }
            name.signal(Signal::STOP);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Resumes every process of a VM.
pub(crate) async fn resume(vm: &Arc<Vm>) -> Result<(), LocalError> {
    for name in members(vm).await? {
        if name.is_stopped() {
            name.signal(Signal::CONT);
        }
    }
    Ok(())
}

/// Ends every process of a VM: SIGTERM, then SIGKILL after [`GRACE`].
///
/// # Errors
/// [`LocalError::Stuck`] when one does not even end after SIGKILL.
pub(crate) async fn end(vm: &Arc<Vm>) -> Result<(), LocalError> {
    if signal_all(vm, &[Signal::TERM, Signal::CONT], GRACE).await? == 0 {
        return Ok(());
    }
    match signal_all(vm, &[Signal::KILL], GRACE).await? {
        0 => Ok(()),
        count => Err(LocalError::Stuck {
            vm: vm.id,
            count,
            what: "end",
        }),
    }
}

/// Signals every process once, including new ones, and waits. Returns how many live at the
/// deadline.
async fn signal_all(
    vm: &Arc<Vm>,
    signals: &[Signal],
    grace: Duration,
) -> Result<usize, LocalError> {
    let mut signalled = BTreeSet::new();
    let deadline = Instant::now() + grace;
    let mut pause = Duration::from_millis(2);
    loop {
        let living = members(vm).await?;
        if living.is_empty() || Instant::now() >= deadline {
            return Ok(living.len());
        }
        for name in living {
            if signalled.insert(name) {
                signals.iter().for_each(|signal| name.signal(*signal));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
