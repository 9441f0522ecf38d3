//! Deadlines, growing waits with jitter for everything that is asked again
//! until it is ready, and when to say that it is still waited for. Knows nothing
//! of what that is.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;
use tokio::time::Instant;

/// The first wait of every back-off in vdeploy.
pub const FIRST: Duration = Duration::from_millis(50);

/// The moment `limit` from now. A limit too long for the clock is ten years.
pub fn deadline(limit: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);
    Instant::now() + limit.min(FAR)
}

/// Waits that double from a first to a longest one, each shortened by up to a
/// quarter at random so that many clients do not ask in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Starts at [`FIRST`] and never waits longer than `longest`.
    pub fn up_to(longest: Duration) -> Self {
        Self {
            next: FIRST.min(longest),
            longest,
        }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.longest);
        full - full.mul_f64(fraction() / 4.0)
    }
}

/// How long something has been waited for, and when to say so again: soon at
/// first, then each half minute, so that a log is not flooded.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    since: Instant,
    due: Duration,
}

impl Patience {
    /// The wait begins now.
    pub fn start() -> Self {
        Self {
            since: Instant::now(),
            due: Duration::from_secs(5),
        }
    }

    /// The whole seconds waited so far.
    pub fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// When to say it again.
    pub fn next(&self) -> Instant {
        self.since + self.due
    }

    /// Whether it is time to say it again; true once for each time.
    pub fn is_due(&mut self) -> bool {
        let waited = self.since.elapsed();
        if waited < self.due {
            return false;
        }
        while self.due <= waited {
            self.due = Duration::from_secs(after(self.due.as_secs()));
        }
        true
    }
}

/// When it is said again after it was said, in seconds of waiting.
fn after(said: u64) -> u64 {
    match said {
        0..15 => said * 2,
        15..30 => said + 10,
        _ => said + 30,
    }
}

/// A random number from 0 to 1. The standard library seeds every hasher state
/// at random, which is enough for jitter.
fn fraction() -> f64 {
    let random = std::hash::RandomState::new().build_hasher().finish();
    f64::from((random >> 40) as u32) / f64::from(1u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_too_long_for_the_clock() {
        assert!(deadline(Duration::MAX) > Instant::now());
    }

    #[tokio::test]
    async fn a_long_wait_is_told_often_at_first_and_rarely_later() {
        let mut at = vec![5];
        while at.len() < 8 {
            at.push(after(at[at.len() - 1]));
        }
        assert_eq!(at, [5, 10, 20, 30, 60, 90, 120, 150]);

        let mut patience = Patience::start();
        assert!(!patience.is_due(), "not at once");
        patience.since -= Duration::from_secs(61);
        assert!(
            patience.is_due() && !patience.is_due(),
            "once for each time"
        );
        assert_eq!(patience.due, Duration::from_secs(90));
    }

    #[test]
    fn waits_double_up_to_the_longest_and_lose_at_most_a_quarter() {
        let mut backoff = Backoff::up_to(Duration::from_millis(300));
        for full in [50, 100, 200, 300, 300] {
            let wait = backoff.next_wait();
            let full = Duration::from_millis(full);
            assert!(
                wait <= full && wait >= full.mul_f64(0.75),
                "{wait:?} of {full:?}"
            );
        }
    }
}
