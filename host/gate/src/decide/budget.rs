//! What one call of a plugin's function may use up besides its time: calls,
//! bytes of the journal, requests in flight. Each `check`, each attempt of
//! `run` and each `undo` has a budget of its own, so a step that used up its
//! own keeps no rollback from running.
//!
//! Who has used it up gets `gate.too-much` once, and its step fails with that
//! code, whatever the plugin returns. Who calls again gets no answer any more:
//! the function is ended there.

use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

/// Most calls of capabilities, those of the clock included.
pub const MAX_CALLS: u64 = 100_000;
/// Most bytes of arguments and answers in the journal. They stay whole there,
/// because a resumed run is answered from them.
pub const MAX_JOURNAL: u64 = 64 << 20;
/// Most HTTP requests at once; the others wait for their turn.
pub const MAX_IN_FLIGHT: usize = 8;
/// What a call takes in the journal besides its arguments and its answer, in
/// bytes.
const CALL_COST: u64 = 256;

/// The budget of one call of a plugin's function. A clone is the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most_calls: u64,
    most_bytes: u64,
    used: Mutex<Used>,
    in_flight: Semaphore,
    /// Somebody has called again.
    overdrawn: Notify,
}

#[derive(Debug, Default)]
struct Used {
    calls: u64,
    bytes: u64,
    spent: Option<EffectError>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MAX_CALLS, MAX_JOURNAL)
    }
}

impl Budget {
    /// So many calls, and so many bytes of the journal.
    pub fn new(most_calls: u64, most_bytes: u64) -> Self {
        Self(Arc::new(Inner {
            most_calls,
            most_bytes,
            used: Mutex::default(),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            overdrawn: Notify::new(),
        }))
    }

    /// Why nothing more is done for this function, once its budget is used up.
    pub fn spent(&self) -> Option<EffectError> {
        self.used().spent.clone()
    }

    /// Resolves when a call is made after the budget was used up.
    pub async fn overdrawn(&self) {
        self.0.overdrawn.notified().await;
    }

    /// One call more. Never returns when the budget was used up before.
    pub(crate) async fn take_call(&self) -> Result<(), EffectError> {
        if self.spent().is_some() {
            self.0.overdrawn.notify_one();
            return std::future::pending().await;
        }
        let mut used = self.used();
        used.calls += 1;
        if used.calls > self.0.most_calls {
            let message = format!(
                "the step has made {} calls, the most in one call of a plugin; nothing more is \
                 done for it",
                self.0.most_calls
            );
            return Err(spend(&mut used, message));
        }
        Ok(())
    }

    /// The journal keeps these arguments, or this answer.
    pub(crate) fn take_bytes(&self, bytes: u64) -> Result<(), EffectError> {
        let mut used = self.used();
        if let Some(spent) = &used.spent {
            return Err(spent.clone());
        }
        let total = used.bytes.saturating_add(bytes);
        if total > self.0.most_bytes {
            let message = format!(
                "the calls of the step need more than {} KiB of the journal, the most in one call \
                 of a plugin; nothing more is done for it: ask less often, or for shorter answers",
                self.0.most_bytes >> 10
            );
            return Err(spend(&mut used, message));
        }
        used.bytes = total;
        Ok(())
    }

    /// The recording says that the budget was used up here.
    pub(crate) fn was_spent(&self, error: &EffectError) {
        self.used().spent.get_or_insert_with(|| error.clone());
    }

    /// Waits for the turn of a request.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.in_flight.acquire().await.ok()
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.used.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn spend(used: &mut Used, message: String) -> EffectError {
    let error = EffectError::new(ErrorKind::Denied, codes::GATE_TOO_MUCH, message);
    used.spent = Some(error.clone());
    error
}

/// What the arguments of a call take in the journal, in bytes.
pub(crate) fn cost_of_request(request: &Value) -> u64 {
    CALL_COST.saturating_add(length(request))
}

/// What an answer takes there.
pub(crate) fn cost_of_answer(answer: &Result<Value, EffectError>) -> u64 {
    match answer {
        Ok(value) => length(value),
        Err(error) => u64::try_from(error.message.len() + error.code.len()).unwrap_or(u64::MAX),
    }
}

/// Bytes of the text of `value`.
fn length(value: &Value) -> u64 {
    struct Count(u64);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // A value is always written; too much is the safe answer.
        Err(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use serde_json::json;

    #[test]
    fn calls_and_bytes_are_counted_apart_and_what_is_spent_stays_spent() {
        let few = Budget::new(2, 1000);
        let take = |budget: &Budget| budget.take_call().now_or_never();
        take(&few).unwrap().unwrap();
        take(&few.clone()).unwrap().unwrap();
        assert!(few.spent().is_none());
        let error = take(&few).unwrap().unwrap_err();
        assert_eq!(error.code, codes::GATE_TOO_MUCH);
        assert!(error.message.contains("2 calls"), "{error}");
        assert_eq!(few.take_bytes(1), Err(error.clone()));
        assert_eq!(few.spent(), Some(error));
        assert!(few.overdrawn().now_or_never().is_none());
        assert!(take(&few).is_none(), "no answer");
        few.overdrawn().now_or_never().unwrap();

        let small = Budget::new(10, 1000);
        small.take_bytes(1000).unwrap();
        let error = small.take_bytes(1).unwrap_err();
        assert_eq!(error.code, codes::GATE_TOO_MUCH);
        assert_eq!(small.spent(), Some(error));
    }

    #[test]
    fn an_answer_costs_what_its_text_takes() {
        let zeros = "\0".repeat(100);
        assert_eq!(cost_of_answer(&Ok(json!(zeros))), 602);
        assert_eq!(cost_of_request(&Value::Null), CALL_COST + 4);
    }
}
