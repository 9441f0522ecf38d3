//! How long leases last.

use std::time::Duration;

/// How long leases last without renewal. A killed run blocks its target for so
/// long at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseTimes {
    pub in_store: Duration,
    /// Whole seconds. Longer than the store's: a busy target may answer late, and
    /// a run that has to end for it has done harm.
    pub on_target: Duration,
}

impl LeaseTimes {
    /// What [`Self::from_seconds`] takes.
    pub const SECONDS: std::ops::RangeInclusive<u64> = 2..=600;

    /// So many seconds on the target, half of that in the store. None outside
    /// [`Self::SECONDS`]: a target takes the end of a longer lease for one of a
    /// clock that was set back.
    pub fn from_seconds(seconds: u64) -> Option<Self> {
        let on_target = Duration::from_secs(seconds);
        Self::SECONDS.contains(&seconds).then_some(Self {
            in_store: on_target / 2,
            on_target,
        })
    }
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            in_store: Duration::from_secs(15),
            on_target: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_target_can_keep_is_a_lease_time() {
        assert_eq!(LeaseTimes::from_seconds(30), Some(LeaseTimes::default()));
        let short = LeaseTimes::from_seconds(3).map(|times| times.in_store);
        assert_eq!(short, Some(Duration::from_millis(1500)));
        for seconds in [0, 1, 601, u64::MAX] {
            assert_eq!(LeaseTimes::from_seconds(seconds), None);
        }
    }
}
