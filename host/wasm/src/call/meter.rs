//! How much CPU time a guest has used.
//!
//! An epoch deadline alone would count the time that a guest waits in a host
//! call. The meter is asked at every epoch tick that meets the guest running;
//! it counts what has passed since the last time, without what the gate
//! waited, and never more than two ticks, because more was not the guest's: the
//! process did not run, or another task did.
//!
//! A guest of a run that is being stopped has a moment left to return. That is
//! time by the clock, since its calls are refused at once; only a single long
//! call does not count, which is the change that was on its way.

use crate::engine::TICK;
use std::time::{Duration, Instant};

/// What a guest has left when the run is being stopped.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// The most that counts of the time between two ticks then.
const STOP_GAP: Duration = Duration::from_millis(100);

/// Why a guest is interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Its CPU budget is used up.
    Cpu,
    /// The run is being stopped, and it did not return.
    Stopped,
}

/// Counts for one call of a plugin.
#[derive(Debug)]
pub struct Meter {
    budget: Duration,
    used: Duration,
    seen: Instant,
    waited: Duration,
    stopping: Duration,
}

impl Meter {
    /// Begins now; `waited` is what the gate has waited so far.
    pub fn new(budget: Duration, now: Instant, waited: Duration) -> Self {
        Self {
            budget,
            used: Duration::ZERO,
            seen: now,
            waited,
            stopping: Duration::ZERO,
        }
    }

    /// The guest runs and it is `now`; `stop` is whether the run is being
    /// stopped. Whether it has to end.
    pub fn tick(&mut self, now: Instant, waited: Duration, stop: bool) -> Option<Over> {
        let passed = now.saturating_duration_since(self.seen);
        let waiting = waited.saturating_sub(self.waited);
        self.used += passed.saturating_sub(waiting).min(TICK * 2);
        self.seen = now;
        self.waited = waited;
        if stop {
            self.stopping += passed.min(STOP_GAP);
        }
        if self.used > self.budget {
            return Some(Over::Cpu);
        }
        (self.stopping > STOP_GRACE).then_some(Over::Stopped)
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
            over = meter.tick(now, waited, false) == Some(Over::Cpu);
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
    fn a_guest_that_is_stopped_has_a_moment_and_a_change_on_its_way_all_its_time() {
        let mut now = Instant::now();
        let mut meter = Meter::new(Duration::from_secs(60), now, Duration::ZERO);
        now += Duration::from_secs(600);
        assert_eq!(meter.tick(now, Duration::from_secs(600), true), None);
        let mut ticks = 0;
        let over = loop {
            now += TICK;
            ticks += 1;
            if let Some(over) = meter.tick(now, Duration::from_secs(600), true) {
                break over;
            }
        };
        assert_eq!(over, Over::Stopped);
        assert_eq!(TICK * ticks + STOP_GAP, STOP_GRACE + TICK);
    }

    #[test]
    fn time_in_which_the_guest_was_not_run_is_hardly_counted() {
        assert!(!is_over([(60_000, 0); 5]));
        // Requests that wait at once wait longer together than time passes.
        assert!(!is_over([(1_000, 9_000), (10, 0)]));
    }
}
