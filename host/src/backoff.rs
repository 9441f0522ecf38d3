//! Deadlines, and growing waits with jitter for everything that is asked again
//! until it is ready. Knows nothing of what is waited for.

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
