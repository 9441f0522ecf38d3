//! `--json`: one object a line, each flushed. The first line names the format:
//! `{"type":"version","format":1,"vdeploy":"0.1.0"}`. Every other line is one
//! event: `seq` (from 1, no gaps), `at` (milliseconds since 1970), and the event's
//! own members, of which `type` is the kind.
//!
//! Within one format, members and kinds are only added. Readers skip those that
//! they do not know.

use crate::{Reporter, RunModel, Sink};
use serde_json::{Map, Value, json};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};
use vdeploy_core::clean;
use vdeploy_core::event::RunEvent;

pub const FORMAT: u32 = 1;

/// Milliseconds since 1970.
type Now = Box<dyn Fn() -> u64 + Send>;

pub struct JsonReporter {
    sink: Sink,
    now: Now,
    seq: u64,
}

impl fmt::Debug for JsonReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonReporter")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl JsonReporter {
    /// Writes the version line at once.
    pub fn new(sink: Sink) -> Self {
        Self::with_clock(
            sink,
            Box::new(|| {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
            }),
        )
    }

    pub(super) fn with_clock(mut sink: Sink, now: Now) -> Self {
        let version = json!({
            "type": "version",
            "format": FORMAT,
            "vdeploy": env!("CARGO_PKG_VERSION"),
        });
        sink.line(&clean::json(&version));
        Self { sink, now, seq: 0 }
    }
}

impl Reporter for JsonReporter {
    fn event(&mut self, _: &RunModel, event: &RunEvent) {
        self.seq += 1;
        let mut line = Map::new();
        line.insert("seq".to_owned(), self.seq.into());
        line.insert("at".to_owned(), (self.now)().into());
        match serde_json::to_value(event) {
            Ok(Value::Object(members)) => line.extend(members),
            // No event there is takes this way; none is dropped silently.
            Ok(other) => {
                line.insert("type".to_owned(), "unknown".into());
                line.insert("value".to_owned(), other);
            }
            Err(error) => {
                line.insert("type".to_owned(), "unwritable".into());
                line.insert("message".to_owned(), error.to_string().into());
            }
        }
        self.sink.line(&clean::json(&Value::Object(line)));
    }
}

#[cfg(test)]
mod tests;
