//! Stopping a run from outside.

use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use vdeploy_gate::RunShared;

/// Asks a run to stop: the call in flight ends, no new step begins, and what was
/// changed is rolled back or kept by policy. Clones ask the same run.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<watch::Sender<Option<&'static str>>>);

impl Default for Cancel {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the run; `by` says what asked for it, for example `SIGTERM`. Only
    /// the first one counts.
    pub fn stop(&self, by: &'static str) {
        self.0.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert(by);
            first
        });
    }

    /// Whether the run was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Passes the request on until dropped.
    pub(super) fn pass_to(&self, shared: &Arc<RunShared>) -> Passing {
        if let Some(by) = *self.0.borrow() {
            shared.cancellation.stop_for(by);
        }
        let (mut stopped, shared) = (self.0.subscribe(), shared.clone());
        let task = tokio::spawn(async move {
            if let Ok(by) = stopped.wait_for(Option::is_some).await
                && let Some(by) = *by
            {
                shared.cancellation.stop_for(by);
            }
        });
        Passing(task.abort_handle())
    }
}

/// Ends when it is dropped.
pub(super) struct Passing(AbortHandle);

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_word_counts() {
        let cancel = Cancel::new();
        assert!(!cancel.is_stopped());
        cancel.stop("SIGINT");
        cancel.clone().stop("SIGTERM");
        assert_eq!(*cancel.0.borrow(), Some("SIGINT"));
    }
}
