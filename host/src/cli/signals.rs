//! Ctrl-C and friends. The first INT or TERM asks the run to stop: the call in
//! flight ends, no new step begins, what was changed is rolled back or kept by
//! policy. The second leaves at once. HUP is ignored: a closed terminal must
//! not cut a deploy in half.

use super::exit::ExitCode;
use super::terminal;
use crate::gate::RunShared;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;

/// Watches until dropped.
#[derive(Debug)]
pub struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts watching for this run.
pub fn watch(shared: Arc<RunShared>) -> std::io::Result<Watch> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let task = tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => continue,
            }
            if asked {
                terminal::error_line(
                    "left at once; the target may be half changed: see `vdeploy runs show latest`",
                );
                std::process::exit(ExitCode::Interrupted.code().into());
            }
            asked = true;
            terminal::error_line("stopping after the current call; once more to leave at once");
            shared.cancel();
        }
    });
    Ok(Watch(task.abort_handle()))
}
