//! How much CPU time a guest has used.
//!
//! An epoch deadline alone would count the time that a guest waits in a host
//! call. The meter is asked at every epoch tick that meets the guest running;
//! it counts what has passed since the last time, without what the gate
//! waited, and never more than two ticks, because more was not the guest's: the
//! process did not run, or another task did.

use super::engine::TICK;
use std::time::{Duration, Instant};

/// Counts for one call of a plugin.
#[derive(Debug)]
pub struct Meter {
    budget: Duration,
    used: Duration,
    seen: Instant,
    waited: Duration,
}

impl Meter {
    /// Begins now; `waited` is what the gate has waited so far.
    pub fn new(budget: Duration, now: Instant, waited: Duration) -> Self {
        Self {
            budget,
            used: Duration::ZERO,
            seen: now,
            waited,
        }
    }

    /// The guest runs and it is `now`. Whether its budget is used up.
    pub fn tick(&mut self, now: Instant, waited: Duration) -> bool {
        let passed = now.saturating_duration_since(self.seen);
        let waiting = waited.saturating_sub(self.waited);
        self.used += passed.saturating_sub(waiting).min(TICK * 2);
        self.seen = now;
        self.waited = waited;
        self.used > self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(100);

    /// Whether the budget is used up after ticks of which each is `(passed,
    /// waited)` in milliseconds.
    fn is_over(ticks: impl IntoIterator<Item = (u64, u64)>) -> bool {
        let (mut now, mut waited) = (Instant::now(), Duration::ZERO);
        let mut meter = Meter::new(BUDGET, now, waited);
        let mut over = false;
        for (passed, wait) in ticks {
            now += Duration::from_millis(passed);
            waited += Duration::from_millis(wait);
            over = meter.tick(now, waited);
        }
        over
    }

    #[test]
    fn computing_uses_the_budget_up_and_waiting_does_not() {
        assert!(!is_over([(10, 0); 10]));
        assert!(is_over([(10, 0); 11]));
        assert!(!is_over([(1_000, 1_000); 500]));
        assert!(is_over([(1_000, 990); 11]));
    }

    #[test]
    fn time_in_which_the_guest_was_not_run_is_hardly_counted() {
        assert!(!is_over([(60_000, 0); 5]));
        // Requests that wait at once wait longer together than time passes.
        assert!(!is_over([(1_000, 9_000), (10, 0)]));
    }
}
