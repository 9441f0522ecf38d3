//! Watches a call from outside. A guest that computes is interrupted at the next
//! tick of the engine's clock, and its call ends by itself. This is for what no
//! tick reaches, such as a function of the host that does not return: the call
//! is then abandoned, the run continues without it, and every further call of
//! the host is refused.

use crate::error::PluginError;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use vdeploy_gate::{RunShared, stopped};

/// So long a call may keep its thread once it should have ended.
const STUCK: Duration = Duration::from_secs(5);
/// How often that is checked.
const EVERY: Duration = Duration::from_millis(250);

/// One call, seen from outside.
#[derive(Debug, Default)]
pub struct Guard {
    /// Since when the call has occupied its thread.
    since: Mutex<Option<Instant>>,
    given_up: AtomicBool,
}

impl Guard {
    /// Whether the call was abandoned: it may have no further effect.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn is_stuck(&self) -> bool {
        self.since().is_some_and(|since| since.elapsed() >= STUCK)
    }

    /// Resolves when the call should have ended, after `limit` or because the
    /// run is being stopped, and cannot: with what is to be said of it.
    pub async fn overdue(
        &self,
        shared: &RunShared,
        timeout: Duration,
        limit: Duration,
    ) -> PluginError {
        let mut late = tokio::select! {
            () = tokio::time::sleep(limit) => true,
            () = shared.cancellation.stopped() => false,
        };
        let began = Instant::now();
        loop {
            tokio::time::sleep(EVERY).await;
            late |= began.elapsed() >= limit;
            let stop = shared.cancellation.is_cancelled() || shared.cancellation.is_broken();
            match (self.is_stuck(), late) {
                (true, true) => return PluginError::Deadline { timeout },
                (true, false) if stop => {
                    return PluginError::Failed(stopped(shared.cancellation.is_broken()));
                }
                _ => {}
            }
        }
    }
}

/// A call that tells its guard when it occupies its thread.
pub struct Watched<T> {
    guard: Arc<Guard>,
    call: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> Watched<T> {
    pub fn new(guard: Arc<Guard>, call: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            guard,
            call: Box::pin(call),
        }
    }
}

impl<T> Future for Watched<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        *self.guard.since() = Some(Instant::now());
        let polled = self.call.as_mut().poll(cx);
        *self.guard.since() = None;
        polled
    }
}

/// A task that ends with its handle.
pub struct OwnTask<T>(JoinHandle<T>);

impl<T: Send + 'static> OwnTask<T> {
    pub fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Its result; none when the runtime is being shut down. A panic of the task
    /// resumes here.
    pub async fn end(&mut self) -> Option<T> {
        match (&mut self.0).await {
            Ok(ended) => Some(ended),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        }
    }
}

impl<T> Drop for OwnTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_that_keeps_its_thread_is_seen_and_one_that_waits_is_not() {
        let guard = Arc::new(Guard::default());
        let waits = Watched::new(guard.clone(), std::future::pending::<()>());
        let task = OwnTask::spawn(waits);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(guard.since().is_none());
        drop(task);
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let keeps = Watched::new(guard.clone(), async move {
            let _ = waits.recv();
        });
        let mut task = OwnTask::spawn(keeps);
        while guard.since().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!guard.is_stuck());
        go_on.send(()).unwrap();
        assert_eq!(task.end().await, Some(()));
        assert!(guard.since().is_none());
    }
}
