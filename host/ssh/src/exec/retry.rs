//! Asking again when the connection breaks: for how long, and what is said at
//! last. For commands that may be asked for more than once.

use crate::OUTAGE;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use vdeploy_core::backoff::Backoff;
use vdeploy_core::capability::EffectError;

/// The tries of one command.
pub(crate) struct Retry {
    deadline: Instant,
    since: Option<Instant>,
    error: Option<EffectError>,
    backoff: Backoff,
}

impl Retry {
    /// `deadline` is the end of the command's time.
    pub(crate) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            since: None,
            error: None,
            backoff: Backoff::up_to(Duration::from_secs(2)),
        }
    }

    /// What came of the try that came furthest, if there was one.
    pub(crate) fn error(self) -> Option<EffectError> {
        self.error
    }

    /// Waits for the next try. From the first one that failed on there is as
    /// much time as a target may be away.
    pub(crate) async fn after(&mut self, error: EffectError) -> Result<(), EffectError> {
        let kept = self.error.take();
        let error = match kept {
            // What may have run is said, and not that the last try ran nothing.
            Some(kept) if kept.maybe_applied && !error.maybe_applied => kept,
            _ => error,
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let wait = self.backoff.next_wait();
        if Instant::now() + wait >= self.deadline.min(since + OUTAGE) {
            return Err(error);
        }
        self.error = Some(error);
        sleep(wait).await;
        Ok(())
    }
}
