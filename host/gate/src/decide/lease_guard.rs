//! A change is sent only while the run surely holds its target. What that means
//! for a call: it waits, it is refused, or it is left open in the journal.

use crate::call::pass::Gate;
use crate::decide::rules::{late, stopped};
use vdeploy_core::capability::http::{Request, Response};
use vdeploy_core::capability::leases::LeaseLoss;
use vdeploy_core::capability::{EffectError, World};
use vdeploy_core::codes;
use vdeploy_core::event::RunEvent;

/// What is said while a change waits.
const WAITS: &str = "waiting until it is known that this run still holds the target";

impl Gate {
    /// Waits until the run surely holds its target, as long as that is not
    /// known and the run is not being stopped. A lease that was lost closes the
    /// gate.
    pub(crate) async fn ensure_lease_valid(&self) -> Result<(), EffectError> {
        let shared = &self.shared;
        let leases = &shared.world.leases;
        if !leases.are_valid() && leases.loss().is_none() {
            shared.recorder.emit(RunEvent::Doing {
                text: WAITS.to_owned(),
            });
        }
        tokio::select! {
            biased;
            held = leases.ensure_valid() => held.map_err(|how| self.lost(&how)),
            () = shared.cancellation.stopped() => Err(stopped(shared.cancellation.is_broken())),
            () = tokio::time::sleep_until(self.deadline) => Err(late()),
        }
    }

    /// Sends a request. A change makes no step on its way while it is not sure
    /// that the run holds its target.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, EffectError> {
        let World { http, leases, .. } = &self.shared.world;
        let sending = http.send(request, self);
        if request.is_probe() {
            return sending.await;
        }
        let sent = leases.guard(sending).await;
        sent.unwrap_or_else(|lost| {
            let error = self.lost(&lost.how);
            if !lost.begun {
                return Err(error);
            }
            Err(EffectError {
                message: format!(
                    "the lease was lost while `{} {}` was on its way: it may have arrived",
                    request.method, request.url
                ),
                ..error.in_doubt()
            })
        })
    }

    /// The error of a change that was not sent because a lease was lost.
    fn lost(&self, how: &LeaseLoss) -> EffectError {
        self.shared.lease_lost(how);
        stopped(true)
    }

    /// Whether a call with this error has no result in the journal: a process
    /// that resumes the run finds out what came of it.
    pub(crate) fn is_left_open(&self, error: &EffectError) -> bool {
        error.code == codes::GATE_CUT
            || (error.maybe_applied && self.shared.world.leases.loss().is_some())
    }
}
