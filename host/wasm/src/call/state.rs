//! What the store of one call holds: the gate, the context and the limits.

use crate::call::StepContext;
use crate::call::checks::Checks;
use crate::call::limiter::Limiter;
use crate::call::meter::Over;
use crate::engine::Limits;
use std::collections::VecDeque;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::event::{CheckStatus, Level};
use vdeploy_gate::Gate;
use wasmtime::Result;
use wasmtime::component::ResourceTable;

/// How many log lines are kept for an error report.
const KEPT_LOGS: usize = 20;
/// Longest log line.
const MAX_LINE: usize = 8 * 1024;
/// What a line costs besides its text.
const LINE_COST: usize = 128;
/// What a handle of a plugin takes in the host besides its contents, in bytes.
pub(crate) const HANDLE: usize = 256;
/// How the SDK's panic hook begins its line.
const PANIC: &str = "the plugin panicked: ";

/// Host side of one plugin call.
pub struct HostState {
    pub(crate) gate: Gate,
    pub(crate) context: StepContext,
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    /// The last lines, each cut and not masked yet.
    pub(crate) logs: VecDeque<String>,
    pub(crate) checks: Checks,
    pub(crate) frames: Vec<String>,
    pub(crate) panic: Option<String>,
    pub(crate) last_call: Option<String>,
    /// Why the guest was interrupted.
    pub(crate) over: Option<Over>,
    /// A sleep met the step's deadline.
    pub(crate) overslept: bool,
    /// Bytes of log lines and checks that may still be told.
    log_left: usize,
    /// Bytes that the host holds behind the plugin's handles.
    held: usize,
}

impl HostState {
    /// `instance`: what the largest instance of the plugin takes, in bytes.
    pub(crate) fn new(gate: Gate, context: StepContext, limits: Limits, instance: usize) -> Self {
        Self {
            gate,
            context,
            table: ResourceTable::new(),
            limiter: Limiter::new(limits.memory, instance),
            logs: VecDeque::new(),
            checks: Checks::default(),
            frames: Vec::new(),
            panic: None,
            last_call: None,
            over: None,
            overslept: false,
            log_left: limits.log,
            held: 0,
        }
    }

    /// Shows and keeps a line that the plugin logged.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        if level == Level::Error
            && let Some(panic) = message.strip_prefix(PANIC)
        {
            let panic = self.gate.shared.masker.mask_start(panic, MAX_LINE);
            self.panic = Some(format!("panicked: {panic}"));
        }
        if self.may_tell(message.len()) {
            let line = self.gate.shared.masker.mask_start(message, MAX_LINE);
            self.gate.say(level, &line);
        }
        if self.logs.len() == KEPT_LOGS {
            self.logs.pop_front();
        }
        // As much as `mask_start` looks at.
        self.logs
            .push_back(cut(message, 2 * MAX_LINE + 1).to_owned());
    }

    /// The last lines, masked.
    pub(crate) fn last_lines(&self) -> impl Iterator<Item = String> {
        let masker = &self.gate.shared.masker;
        self.logs
            .iter()
            .map(|line| masker.mask_start(line, MAX_LINE))
    }

    /// Shows a named check, and remembers whether it failed.
    pub(crate) fn check(
        &mut self,
        name: &str,
        status: CheckStatus,
        duration_ms: u64,
        detail: Option<&str>,
    ) {
        let masker = &self.gate.shared.masker;
        self.checks.seen(name, status, detail, masker);
        if self.may_tell(name.len() + detail.map_or(0, str::len)) {
            self.gate.check(name, status, duration_ms, detail);
        }
    }

    /// Whether `bytes` more may be told, counted as they come from the plugin:
    /// one that tells without end must fill neither the memory of the host nor
    /// its time.
    fn may_tell(&mut self, bytes: usize) -> bool {
        if self.log_left == 0 {
            return false;
        }
        self.log_left = self.log_left.saturating_sub(bytes + LINE_COST);
        if self.log_left == 0 {
            self.gate.say(
                Level::Warn,
                "the plugin logs too much; the rest of this call is left out",
            );
        }
        self.log_left > 0
    }

    /// Keeps room for answers of so many bytes that are about to be asked for.
    /// Given back with `release`, before the answers themselves are held.
    pub(crate) fn reserve(&mut self, bytes: usize) -> std::result::Result<(), EffectError> {
        let total = self.held.saturating_add(bytes);
        if total > self.limiter.most {
            return Err(EffectError::new(
                ErrorKind::Invalid,
                codes::HTTP_NO_ROOM,
                format!(
                    "the answers may take {} KiB, and of the {} KiB that the host holds for a \
                     plugin {} are in use: ask for shorter answers (`max-response-bytes`), or \
                     send fewer requests at once",
                    bytes.div_ceil(1024),
                    self.limiter.most >> 10,
                    self.held.div_ceil(1024),
                ),
            ));
        }
        self.held = total;
        Ok(())
    }

    /// The host keeps `bytes` more for the plugin.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held = self.held.saturating_add(bytes);
        if self.held > self.limiter.most {
            self.limiter.memory_hit = true;
            return Err(wasmtime::format_err!("too much is held for the plugin"));
        }
        Ok(())
    }

    /// The host keeps `bytes` less.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }
}

/// `text`, at most `max` bytes long, cut between characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
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
