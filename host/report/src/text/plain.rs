//! Lines for a stream that is no live terminal: one an event, each with the time
//! since the start. `verbose` adds calls, output and debug logs.

use super::lines::{Detail, Line, LineRenderer};
use crate::{Reporter, RunModel, Sink};
use std::fmt;
use std::time::Instant;
use vdeploy_core::event::RunEvent;

/// Milliseconds since the run started.
type Elapsed = Box<dyn Fn() -> u64 + Send>;

pub struct PlainReporter {
    lines: LineRenderer,
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
    /// The time counts from now.
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
            lines: LineRenderer::new(detail),
            elapsed,
            sink,
        }
    }

    /// Without the time.
    pub(crate) fn raw(&mut self, line: &str) {
        self.sink.line(line);
    }

    pub(crate) fn render(&mut self, model: &RunModel, event: &RunEvent) -> Vec<String> {
        let at = super::elapsed((self.elapsed)());
        let lines = self.lines.render(model, event);
        let stamped = |line: &Line| match line.is_summary {
            true => line.text.clone(),
            false => format!("[{at}] {}", line.text),
        };
        lines.iter().map(stamped).collect()
    }
}

impl Reporter for PlainReporter {
    fn event(&mut self, model: &RunModel, event: &RunEvent) {
        for line in self.render(model, event) {
            self.sink.line(&line);
        }
    }
}

#[cfg(test)]
mod tests;
