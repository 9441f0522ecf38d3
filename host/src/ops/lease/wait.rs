//! Waiting for a target that another run holds: in the store and on the target
//! itself, with one deadline for both.

use super::holder::LeaseHolder;
use crate::backoff::{Backoff, Patience, deadline};
use crate::event::{Outcome, RunEvent};
use crate::gate::RunShared;
use crate::ids::{RunId, TargetName};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest time between two questions: a target that is given back is not left
/// waiting.
const LONGEST: Duration = Duration::from_secs(1);

/// The wait of one run, up to a limit.
#[derive(Debug)]
pub struct Wait {
    limit: Duration,
    until: Instant,
    backoff: Backoff,
    patience: Patience,
    /// Whose end was waited for last.
    holder: Option<RunId>,
}

impl Wait {
    pub fn start(limit: Duration) -> Self {
        Self {
            limit,
            until: deadline(limit),
            backoff: Backoff::up_to(LONGEST),
            patience: Patience::start(),
            holder: None,
        }
    }

    /// Another run holds the target. Says so and waits a little; asking again
    /// is the caller's part. The error is how the run ends, and why: the time
    /// is up, or it is being stopped.
    pub async fn after(
        &mut self,
        holding: &LeaseHolder<'_>,
        target: &TargetName,
        shared: &RunShared,
    ) -> Result<(), (Outcome, String)> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let mut message = holding.message(target, Some(shared.recorder.journal.store()));
            if !self.limit.is_zero() {
                message.push_str(&format!("\nIt was waited for {} s", self.limit.as_secs()));
            }
            return Err((Outcome::Held, message));
        }
        if self.holder.as_ref() != Some(holding.run) {
            self.holder = Some(holding.run.clone());
            self.backoff = Backoff::up_to(LONGEST);
            self.say(holding, target, shared);
        } else if self.patience.is_due() {
            self.say(holding, target, shared);
        }
        tokio::select! {
            () = sleep(self.backoff.next_wait().min(left)) => Ok(()),
            () = shared.cancellation.stopped() => Err((
                Outcome::Interrupted,
                format!(
                    "stopped while it waited for the target; nothing was changed: {}",
                    holding.sentence(target)
                ),
            )),
        }
    }

    fn say(&self, holding: &LeaseHolder<'_>, target: &TargetName, shared: &RunShared) {
        let text = format!(
            "waiting for the target, {} s of at most {} s so far: {}",
            self.patience.seconds(),
            self.limit.as_secs(),
            holding.sentence(target)
        );
        shared.recorder.emit(RunEvent::Doing {
            text: shared.masker.mask(&text).into_owned(),
        });
    }
}
