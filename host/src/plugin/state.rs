//! What the store of one call holds: the gate, the context and the limits.

use super::call::StepContext;
use super::engine::{MAX_INSTANCES, MAX_MEMORY, MAX_TABLE};
use crate::event::Level;
use crate::gate::Gate;
use std::collections::VecDeque;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result};

/// How many log lines are kept for an error report.
const KEPT_LOGS: usize = 20;
/// Longest log line.
const MAX_LOG: usize = 8 * 1024;

/// Host side of one plugin call.
pub struct HostState {
    pub(super) gate: Gate,
    pub(super) context: StepContext,
    pub(super) table: ResourceTable,
    pub(super) limits: Limits,
    pub(super) logs: VecDeque<String>,
    pub(super) panic: Option<String>,
    pub(super) last_call: Option<String>,
    pub(super) cpu_used: bool,
}

impl HostState {
    pub(super) fn new(gate: Gate, context: StepContext) -> Self {
        Self {
            gate,
            context,
            table: ResourceTable::new(),
            limits: Limits::default(),
            logs: VecDeque::new(),
            panic: None,
            last_call: None,
            cpu_used: false,
        }
    }

    /// Shows and keeps a line that the plugin logged.
    pub(super) fn log(&mut self, level: Level, message: &str) {
        let line = cut(message, MAX_LOG);
        self.gate.say(level, line);
        if level == Level::Error && line.starts_with("panicked at ") {
            self.panic = Some(self.gate.shared.masker.mask(line).into_owned());
        }
        if self.logs.len() == KEPT_LOGS {
            self.logs.pop_front();
        }
        self.logs
            .push_back(self.gate.shared.masker.mask(line).into_owned());
    }
}

/// `text`, at most `max` bytes long, cut between characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

/// Memory, table and instance limits; remembers that one was hit.
#[derive(Debug, Default)]
pub struct Limits {
    pub(super) memory_hit: bool,
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        if desired > MAX_MEMORY {
            self.memory_hit = true;
            return Err(wasmtime::format_err!(
                "the memory limit of {} MiB",
                MAX_MEMORY >> 20
            ));
        }
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(desired <= MAX_TABLE)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_INSTANCES
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("", 3), "");
    }
}
