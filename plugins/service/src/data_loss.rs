//! Data that a restore loses: what the service wrote to `data/` after the
//! baseline was taken. The steps name it before they restore.

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{Cx, Error, ErrorKind};

use crate::facts::{self, Location};
use crate::outputs::Baseline;

/// A file in `data/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct DataFile {
    /// Relative to the checkout: `data/board.json`.
    pub name: String,
    pub bytes: u64,
    /// Last write in seconds since 1970, by the clock of the target.
    pub written_at: u64,
    /// Only for files with one entry a line.
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

/// A rollback on request also drops what the deploy wrote after its preflight.
pub const RECORDS: &str = " (including the records of the deploy in ledger, feed and registry)";

/// Warns about each file and returns the list. `records` are lines to ignore;
/// `note` explains the rest. None when unknown: a failure here does not stop a
/// rollback.
///
/// # Errors
/// When the run is being stopped.
pub fn warn<C>(
    cx: &Cx<C>,
    before: &Baseline,
    snapshot: &str,
    records: &[&str],
    note: &str,
) -> Result<Option<Vec<String>>, Error> {
    let unknown = |why: String| {
        cx.warn(format!(
            "cannot tell what was written since snapshot {snapshot}: {why}"
        ));
        Ok(None)
    };
    let location = Location {
        app_dir: before.app_dir.clone(),
        port: Some(before.port),
        log: before.log.clone(),
    };
    let now = match facts::read_with_data(cx, &location) {
        Ok(facts) => facts.data_files,
        Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
        Err(error) => return unknown(error.to_string()),
    };
    let (Some(old), Some(now)) = (&before.data_files, now) else {
        return unknown(
            "the files in `data` were not listed at preflight, or are too many".to_owned(),
        );
    };
    let mut lost = changes(old, &now);
    lost.retain(|line| !records.contains(&line.as_str()));
    if !lost.is_empty() {
        cx.warn(format!(
            "snapshot {snapshot} does not have what was written since the run's preflight{note}: {}",
            lost.join("; ")
        ));
    }
    Ok(Some(lost))
}

/// The differences of `now` from `before`, for a person: a line a file, sorted
/// by name.
fn changes(before: &[DataFile], now: &[DataFile]) -> Vec<String> {
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
    fn every_kind_of_write_is_reported() {
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
            changes(&before, &now),
            [
                "data/board.json written, 10 bytes before and 10 now",
                "data/commits.jsonl written, 1 line fewer",
                "data/feed.jsonl +3 lines",
                "data/new.db new, 9 bytes",
                "data/new.jsonl new, 1 line",
                "data/old name.db deleted",
            ]
        );
        assert_eq!(changes(&before, &before), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_is_no_file_is_none() {
        for text in ["", "1", "1 2", "x 2 data/a"] {
            assert_eq!(DataFile::parse(text), None, "{text}");
        }
    }
}
