//! What the service has written to `data/` between two looks at it.
//!
//! This module must not know what becomes of the writes.

use serde::{Deserialize, Serialize};

/// A file in `data/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct DataFile {
    /// Relative to the checkout: `data/board.json`.
    pub name: String,
    pub bytes: u64,
    /// Seconds since 1970 when it was written last, by the target's clock.
    pub written_at: u64,
    /// Of a file with one entry a line.
    pub lines: Option<u64>,
}

impl DataFile {
    /// Reads `BYTES SECONDS NAME`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        Some(Self {
            bytes: words.next()?.parse().ok()?,
            written_at: words.next()?.parse().ok()?,
            name: words.next()?.to_owned(),
            lines: None,
        })
    }
}

/// What is in `now` and not in `before`, for a person: a line a file, in the
/// order of their names.
pub fn since(before: &[DataFile], now: &[DataFile]) -> Vec<String> {
    let named = |files: &[DataFile], name: &str| files.iter().find(|f| f.name == name).cloned();
    let gone = before.iter().filter(|old| named(now, &old.name).is_none());
    let gone = gone.map(|old| (old.name.clone(), "deleted".to_owned()));
    let written = now.iter().filter_map(|new| {
        let how = change(named(before, &new.name).as_ref(), new)?;
        Some((new.name.clone(), how))
    });
    let mut all: Vec<_> = written.chain(gone).collect();
    all.sort();
    all.into_iter()
        .map(|(name, how)| format!("{name} {how}"))
        .collect()
}

fn change(old: Option<&DataFile>, new: &DataFile) -> Option<String> {
    let Some(old) = old else {
        return Some(match new.lines {
            Some(lines) => format!("new, {}", counted(lines)),
            None => format!("new, {} bytes", new.bytes),
        });
    };
    if (old.bytes, old.written_at) == (new.bytes, new.written_at) {
        return None;
    }
    Some(match (old.lines, new.lines) {
        (Some(before), Some(now)) if now > before => format!("+{}", counted(now - before)),
        (Some(before), Some(now)) if now < before => {
            format!("written, {} fewer", counted(before - now))
        }
        _ => format!("written, {} bytes before and {} now", old.bytes, new.bytes),
    })
}

fn counted(lines: u64) -> String {
    match lines {
        1 => "1 line".to_owned(),
        lines => format!("{lines} lines"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, lines: Option<u64>) -> DataFile {
        let file = DataFile::parse(text).unwrap();
        DataFile { lines, ..file }
    }

    #[test]
    fn every_kind_of_write_is_told() {
        let before = [
            file("10 100 data/board.json", None),
            file("50 100 data/commits.jsonl", Some(5)),
            file("20 100 data/feed.jsonl", Some(2)),
            file("30 100 data/log.jsonl", Some(3)),
            file("7 100 data/old name.db", None),
        ];
        let now = [
            file("10 101 data/board.json", None),
            file("40 109 data/commits.jsonl", Some(4)),
            file("50 109 data/feed.jsonl", Some(5)),
            file("30 100 data/log.jsonl", Some(3)),
            file("9 109 data/new.db", None),
            file("9 109 data/new.jsonl", Some(1)),
        ];
        assert_eq!(
            since(&before, &now),
            [
                "data/board.json written, 10 bytes before and 10 now",
                "data/commits.jsonl written, 1 line fewer",
                "data/feed.jsonl +3 lines",
                "data/new.db new, 9 bytes",
                "data/new.jsonl new, 1 line",
                "data/old name.db deleted",
            ]
        );
        assert_eq!(since(&before, &before), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_is_no_file_is_none() {
        for text in ["", "1", "1 2", "x 2 data/a"] {
            assert_eq!(DataFile::parse(text), None, "{text}");
        }
    }
}
