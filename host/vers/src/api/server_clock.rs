//! The platform's clock, from the `Date` of its answers. Tells what existed before
//! a call from what the call made.

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap};
use std::sync::atomic::{AtomicI64, Ordering};

/// `Date` has whole seconds.
const GRAIN: SignedDuration = SignedDuration::from_secs(1);

/// Milliseconds by which the platform's clock is ahead of this machine's; unknown
/// before the first answer.
#[derive(Debug)]
pub(crate) struct ServerClock(AtomicI64);

const UNKNOWN: i64 = i64::MIN;

impl Default for ServerClock {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl ServerClock {
    pub(crate) fn learn(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|d| d.to_str().ok());
        let Some(date) = date.and_then(|d| jiff::fmt::rfc2822::parse(d).ok()) else {
            return;
        };
        let ahead = date.timestamp().duration_since(Timestamp::now());
        let ahead = i64::try_from(ahead.as_millis()).unwrap_or(UNKNOWN);
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// A time of the platform's clock that is certainly not after now; `None` while
    /// it is unknown.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let ahead = self.0.load(Ordering::Relaxed);
        if ahead == UNKNOWN {
            return None;
        }
        let now = Timestamp::now().checked_add(SignedDuration::from_millis(ahead));
        now.and_then(|now| now.checked_sub(GRAIN)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_sets_the_clock() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), None);
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Thu, 01 Jan 2099 00:00:00 GMT".parse().unwrap());
        clock.learn(&headers);
        let year = clock.now().unwrap().to_string();
        assert!(year.starts_with("2098-12-31T23:59:5"), "{year}");
        headers.insert(DATE, "yesterday".parse().unwrap());
        clock.learn(&headers);
        assert!(clock.now().is_some());
    }
}
