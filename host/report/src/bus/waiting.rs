//! Events that wait for the reporters, in order. A stopped terminal (Ctrl-S) must
//! neither block the run nor let a command's output fill the memory. Beyond a
//! bound, lines of output are left out, and one line in their place says how many.
//! Every other event is kept.

use std::collections::VecDeque;
use vdeploy_core::event::{Level, RunEvent};
use vdeploy_core::ids::StepId;

pub(super) const MAX_LINES: usize = 32 * 1024;
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
enum Item {
    Event(RunEvent),
    /// Lines of output of this step were here: so many.
    LeftOut(StepId, u64),
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    items: VecDeque<Item>,
    lines: usize,
    bytes: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Output is only counted when there is no room for it.
    pub(super) fn add(&mut self, event: RunEvent) {
        if let RunEvent::Output { step, line, .. } = &event {
            // A gap stays one item until it is shown, so that one line tells of it.
            let gap = match self.items.back_mut() {
                Some(Item::LeftOut(of, count)) if of == step => Some(count),
                _ => None,
            };
            if let Some(count) = gap {
                *count += 1;
                return;
            }
            if self.lines >= MAX_LINES || self.bytes.saturating_add(line.len()) > MAX_BYTES {
                self.items.push_back(Item::LeftOut(step.clone(), 1));
                return;
            }
            self.lines += 1;
            self.bytes += line.len();
        }
        self.items.push_back(Item::Event(event));
    }

    pub(super) fn take(&mut self, most: usize) -> Vec<RunEvent> {
        let count = most.min(self.items.len());
        let taken: Vec<_> = self.items.drain(..count).map(into_event).collect();
        for event in &taken {
            if let RunEvent::Output { line, .. } = event {
                self.lines = self.lines.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(line.len());
            }
        }
        taken
    }
}

fn into_event(item: Item) -> RunEvent {
    match item {
        Item::Event(event) => event,
        Item::LeftOut(step, count) => RunEvent::Log {
            step: Some(step),
            level: Level::Warn,
            message: format!(
                "{} left out here: output came faster than it could be shown; `vdeploy runs show \
                 --json` has what the journal kept of it",
                match count {
                    1 => "1 line of output was".to_owned(),
                    _ => format!("{count} lines of output were"),
                }
            ),
        },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use vdeploy_core::capability::ssh::Stream;

    pub(crate) fn output(line: &str) -> RunEvent {
        RunEvent::Output {
            step: "build".into(),
            stream: Stream::Stdout,
            line: line.to_owned(),
        }
    }

    fn doing(text: &str) -> RunEvent {
        RunEvent::Doing {
            text: text.to_owned(),
        }
    }

    #[test]
    fn beyond_the_bound_lines_are_counted_and_nothing_else_is_lost() {
        let mut waiting = Waiting::default();
        for _ in 0..MAX_LINES + 2 {
            waiting.add(output("x"));
        }
        waiting.add(doing("a"));
        waiting.add(output("x"));
        waiting.add(doing("b"));
        assert_eq!(waiting.take(MAX_LINES).last(), Some(&output("x")));
        let rest: Vec<_> = waiting
            .take(100)
            .into_iter()
            .map(|event| match event {
                RunEvent::Log { message, .. } => {
                    message.split(" ").take(3).map(str::to_owned).collect()
                }
                RunEvent::Doing { text } => vec![text],
                other => panic!("{other:?}"),
            })
            .map(|words: Vec<String>| words.join(" "))
            .collect();
        assert_eq!(rest, ["2 lines of", "a", "1 line of", "b"]);
        // There is room again.
        waiting.add(output("y"));
        assert_eq!(waiting.take(100), [output("y")]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn long_lines_count_by_their_length() {
        let mut waiting = Waiting::default();
        let long = "x".repeat(MAX_BYTES / 4);
        for _ in 0..6 {
            waiting.add(output(&long));
        }
        let taken = waiting.take(100);
        assert_eq!(taken.len(), 5);
        assert!(matches!(taken.last(), Some(RunEvent::Log { .. })));
    }
}
