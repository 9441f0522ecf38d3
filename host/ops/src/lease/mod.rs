//! The lease on a target, as operations use it: taken and watched for a run, read
//! and broken on request.

pub mod break_lease;
pub mod on_target;
pub mod status;

use crate::operation::interrupted;
use vdeploy_core::event::{Outcome, RunEvent};
use vdeploy_core::ids::TargetName;
use vdeploy_gate::RunShared;
use vdeploy_lease::LeaseHolder;
use vdeploy_lease::wait::{Wait, Waiter};

/// Waits a little for `holder`, as a run that hears a stop; the error is how it
/// ends, and why.
pub async fn wait_for(
    holder: &LeaseHolder,
    target: &TargetName,
    wait: &mut Wait,
    shared: &RunShared,
) -> Result<(), (Outcome, String)> {
    let waiter = Waiter {
        doing: &|text| {
            shared.recorder.emit(RunEvent::Doing {
                text: shared.masker.mask(&text).into_owned(),
            });
        },
        stopped: shared.cancellation.stopped(),
        dead: &|holder| interrupted::dead_run(shared.recorder.journal.store(), holder),
    };
    wait.after(holder, target, waiter).await
}
