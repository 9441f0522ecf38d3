//! Whether the run is being stopped, and whether the gate is closed for good.

use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Why the gate is closed.
#[derive(Clone, Debug)]
pub struct Broken {
    /// For a person.
    pub message: String,
    /// Whether the run can be resumed once the cause is fixed.
    pub mendable: bool,
}

/// The stop of one run. A stop ends at the rollback and the finally steps; a
/// closed gate ends everything.
#[derive(Debug, Default)]
pub struct Cancellation {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    stopped_by: Option<&'static str>,
    finishing: bool,
    broken: Option<Broken>,
}

impl Cancellation {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Asks the run to stop: no further call is made.
    pub fn cancel(&self) {
        self.lock().cancelled = true;
        self.changed.notify_waiters();
    }

    /// As `cancel`; the first cause is the one that is reported.
    pub fn stop_for(&self, by: &'static str) {
        self.lock().stopped_by.get_or_insert(by);
        self.cancel();
    }

    pub fn stopped_by(&self) -> Option<&'static str> {
        self.lock().stopped_by
    }

    /// From now on a stop has no effect: the rollback and the finally steps
    /// run to their end.
    pub fn finish_undisturbed(&self) {
        self.lock().finishing = true;
    }

    pub fn is_cancelled(&self) -> bool {
        let state = self.lock();
        state.cancelled && !state.finishing
    }

    /// Closes the gate for good.
    pub fn break_off(&self, message: impl Into<String>) {
        self.close(message.into(), false);
    }

    /// Closes the gate of this process. Another process can resume the run once
    /// the cause is fixed.
    pub fn break_off_for_now(&self, message: impl Into<String>) {
        self.close(message.into(), true);
    }

    /// The first cause is kept.
    pub(super) fn close(&self, message: String, mendable: bool) {
        self.lock()
            .broken
            .get_or_insert(Broken { message, mendable });
        self.changed.notify_waiters();
    }

    /// Why the gate is closed, if it is.
    pub fn broken(&self) -> Option<Broken> {
        self.lock().broken.clone()
    }

    pub fn is_broken(&self) -> bool {
        self.lock().broken.is_some()
    }

    /// Resolves when the run is being stopped or the gate is closed.
    pub async fn stopped(&self) {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_cancelled() || self.is_broken() {
                return;
            }
            notified.await;
        }
    }
}
