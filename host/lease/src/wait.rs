//! Waiting for a target that another run holds: in the store and on the target
//! itself, with one deadline for both.

use crate::holder::LeaseHolder;
use crate::reclaim::DeadRun;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use vdeploy_core::backoff::{Backoff, Patience, deadline};
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{RunId, TargetName};

/// Longest time between two questions: a target that is given back is not left
/// waiting.
const LONGEST: Duration = Duration::from_secs(1);

/// Who waits, as the wait sees it.
pub struct Waiter<'a, S> {
    /// Hears what is being done.
    pub doing: &'a (dyn Fn(String) + Sync),
    /// Resolves when the run is being stopped.
    pub stopped: S,
    /// How far the holder came, if its process is gone.
    pub dead: &'a (dyn Fn(&LeaseHolder) -> Option<DeadRun> + Sync),
}

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
        holder: &LeaseHolder,
        target: &TargetName,
        waiter: Waiter<'_, impl Future<Output = ()>>,
    ) -> Result<(), (Outcome, String)> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let mut message = holder.message(target, (waiter.dead)(holder).as_ref());
            if !self.limit.is_zero() {
                message.push_str(&format!("\nIt was waited for {} s", self.limit.as_secs()));
            }
            return Err((Outcome::Held, message));
        }
        let is_new = self.holder.as_ref() != Some(&holder.run);
        if is_new {
            self.holder = Some(holder.run.clone());
            self.backoff = Backoff::up_to(LONGEST);
        }
        if is_new || self.patience.is_due() {
            (waiter.doing)(format!(
                "waiting for the target, {} s of at most {} s so far: {}",
                self.patience.seconds(),
                self.limit.as_secs(),
                holder.sentence(target)
            ));
        }
        tokio::select! {
            () = sleep(self.backoff.next_wait().min(left)) => Ok(()),
            () = waiter.stopped => Err((
                Outcome::Interrupted,
                format!(
                    "stopped while it waited for the target; nothing was changed: {}",
                    holder.sentence(target)
                ),
            )),
        }
    }
}
