//! A change is sent only while the run surely holds its target. What that means
//! for a call: it waits, it is refused, or it is left open in the journal.

use super::pass::{CUT, Gate};
use super::rules::{late, stopped};
use crate::capability::http::{Request, Response};
use crate::capability::{EffectError, World};

impl Gate {
    /// Waits until the run surely holds its target, as long as that is not
    /// known. A lease that was lost closes the gate.
    pub(super) async fn surely_held(&self) -> Result<(), EffectError> {
        let leases = &self.shared.world.leases;
        tokio::select! {
            biased;
            held = leases.sure() => held.map_err(|why| self.lost(&why)),
            () = tokio::time::sleep_until(self.deadline) => Err(late()),
        }
    }

    /// Sends a request. A change makes no step on its way while it is not sure
    /// that the run holds its target.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, EffectError> {
        let World { http, leases, .. } = &self.shared.world;
        let sending = http.send(request, self);
        if request.is_probe() {
            return sending.await;
        }
        let sent = leases.guard(sending).await;
        sent.unwrap_or_else(|lost| {
            let error = self.lost(&lost.why);
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
    fn lost(&self, why: &str) -> EffectError {
        let why = format!("the lease was lost: {why}");
        self.shared.break_off(&self.shared.masker.mask(&why));
        stopped(true)
    }

    /// Whether a call with this error has no result in the journal: a process
    /// that goes on with the run finds out what came of it.
    pub(super) fn is_left_open(&self, error: &EffectError) -> bool {
        error.code == CUT || (error.maybe_applied && self.shared.world.leases.lost().is_some())
    }
}
