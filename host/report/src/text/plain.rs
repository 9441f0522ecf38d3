//! Lines for a place without a live terminal: one a happening, each with the
//! time since the start. `verbose` adds calls, output and debug logs.

use super::lines::{Detail, Line, Narrator};
use crate::wording as text;
use crate::{Reporter, Sink};
use std::fmt;
use std::time::Instant;
use vdeploy_core::event::RunEvent;

/// Milliseconds since the run started.
type Elapsed = Box<dyn Fn() -> u64 + Send>;

/// Writes lines for people.
pub struct PlainReporter {
    narrator: Narrator,
    elapsed: Elapsed,
    sink: Sink,
}

impl fmt::Debug for PlainReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainReporter")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

impl PlainReporter {
    /// Writes to `sink`; the time counts from now.
    pub fn new(sink: Sink, verbose: bool) -> Self {
        let start = Instant::now();
        let elapsed = move || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Self::with_clock(sink, verbose, Box::new(elapsed))
    }

    pub(crate) fn with_clock(sink: Sink, verbose: bool, elapsed: Elapsed) -> Self {
        let detail = if verbose {
            Detail::Verbose
        } else {
            Detail::Plain
        };
        Self {
            narrator: Narrator::new(detail),
            elapsed,
            sink,
        }
    }

    pub(crate) fn narrator(&self) -> &Narrator {
        &self.narrator
    }

    /// Writes a line as it is.
    pub(crate) fn raw(&mut self, line: &str) {
        self.sink.line(line);
    }

    pub(crate) fn tell(&mut self, event: &RunEvent) -> Vec<String> {
        let at = text::elapsed((self.elapsed)());
        let lines = self.narrator.tell(event);
        let stamped = |line: &Line| match line.last {
            true => line.text.clone(),
            false => format!("[{at}] {}", line.text),
        };
        lines.iter().map(stamped).collect()
    }
}

impl Reporter for PlainReporter {
    fn event(&mut self, event: &RunEvent) {
        for line in self.tell(event) {
            self.sink.line(&line);
        }
    }
}

#[cfg(test)]
mod tests;
