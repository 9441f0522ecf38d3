//! A target that does not answer at the start of a run: it is woken where the
//! platform can do that, and what is wrong with it is named.

use vdeploy_core::capability::snapshot::{Progress, Wake};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::{Level, RunEvent};
use vdeploy_gate::RunShared;

/// The host's own words in the run's report.
struct Says<'a>(&'a RunShared);

impl Progress for Says<'_> {
    fn doing(&self, text: &str) {
        self.0.recorder.emit(RunEvent::Doing {
            text: self.0.masker.mask(text).into_owned(),
        });
    }
    fn warn(&self, text: &str) {
        self.0.recorder.emit(RunEvent::Log {
            step: None,
            level: Level::Warn,
            message: self.0.masker.mask(text).into_owned(),
        });
    }
}

/// `error` is why the target cannot be connected to; Ok is that it can be now.
/// With `change` a VM that is frozen goes on.
pub async fn or_why(
    shared: &RunShared,
    change: bool,
    mut error: EffectError,
) -> Result<(), EffectError> {
    // Only then can the state of the VM be the reason. A platform that did not
    // answer was asked often enough.
    let of_the_vm = match error.code.as_str() {
        codes::SSH_UNREACHABLE | codes::SSH_AUTH => true,
        codes::SSH_PLATFORM => matches!(error.kind, ErrorKind::Failed | ErrorKind::Conflict),
        _ => false,
    };
    if !of_the_vm {
        return Err(error);
    }
    let known = match shared.world.snapshot.wake(change, &Says(shared)).await {
        Ok(Wake::Woken) => return Ok(()),
        Ok(Wake::Unknown) => return Err(error),
        Ok(Wake::NotNeeded(known)) => known,
        Err(why) => why.message,
    };
    if !error.message.contains(&known) {
        error.message = format!("{}\n{known}", error.message);
    }
    Err(error)
}
