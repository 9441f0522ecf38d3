//! Time for a plugin: the wall clock and a bounded wait.
//!
//! Needs no grant: it has no effect outside the run. The gate bounds a sleep
//! by the step's deadline and journals it.

use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where time comes from.
#[async_trait]
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_unix_ms(&self) -> u64;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now_unix_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that only its sleeps move: each returns at once.
#[derive(Debug)]
pub struct SimulatedClock {
    now: Mutex<u64>,
}

impl SimulatedClock {
    /// Starts at `now_unix_ms`.
    pub fn new(now_unix_ms: u64) -> Self {
        Self {
            now: Mutex::new(now_unix_ms),
        }
    }
}

#[async_trait]
impl Clock for SimulatedClock {
    fn now_unix_ms(&self) -> u64 {
        *self.now.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn sleep(&self, duration: Duration) {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut now = self.now.lock().unwrap_or_else(|e| e.into_inner());
        *now = now.saturating_add(ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_simulated_sleep_advances_the_clock_without_waiting() {
        let clock = SimulatedClock::new(1_000);
        clock.sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now_unix_ms(), 3_601_000);
    }
}
