//! One run as one portable file: JSON, an object a line, each with a `type`.
//! The first line names the format, the last one says how many entries there
//! are, so that a file that was cut is known. Everything in it comes from the
//! store, where it is masked.
//!
//! Within one format, members and types are only added: a reader skips what it
//! does not know.

use super::entry::FORMAT as JOURNAL_FORMAT;
use super::store::{RunRecord, Stored};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use vdeploy_core::ids::{RunId, StepId};

/// Version of the file's format.
pub const FORMAT: u32 = 1;

/// What is kept of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    /// Plan, configuration, plugin digests, target.
    pub record: RunRecord,
    /// What the steps of the run that it rolls back returned.
    pub rolled_back: Option<RolledBack>,
    /// The whole journal, in order.
    pub journal: Vec<Stored>,
}

/// The run that was rolled back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RolledBack {
    /// Its id.
    pub run: RunId,
    /// The outputs of its steps.
    pub outputs: BTreeMap<StepId, Value>,
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It is something else.
    #[error("it is no recording of a run: {0}; `vdeploy runs export RUN --out FILE` makes one")]
    Other(String),
    /// A newer vdeploy made it.
    #[error(
        "a newer vdeploy made it ({what} format {found}, this one knows {known}); update vdeploy"
    )]
    TooNew {
        /// Which format.
        what: &'static str,
        /// In the file.
        found: u32,
        /// Known.
        known: u32,
    },
    /// An older vdeploy made it.
    #[error(
        "vdeploy {vdeploy} made it (journal format {found}, this one knows {known} only); replay \
         it with that vdeploy, or export a run of this one"
    )]
    TooOld {
        vdeploy: String,
        /// Journal format in the file.
        found: u32,
        /// Known.
        known: u32,
    },
    /// A line cannot be understood.
    #[error("line {line} cannot be read: {message}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        message: String,
    },
    /// The end is missing.
    #[error("it was cut: {0}; export the run again")]
    Cut(String),
}

#[derive(Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
enum Line {
    Recording {
        format: u32,
        journal_format: u32,
        vdeploy: String,
    },
    Run(Box<RunRecord>),
    RolledBack(RolledBack),
    Entry(Box<Stored>),
    End {
        entries: usize,
    },
    #[serde(other)]
    Unknown,
}

impl Recording {
    /// The lines of the file.
    pub fn lines(&self) -> Result<Vec<String>, serde_json::Error> {
        let mut lines = vec![
            Line::Recording {
                format: FORMAT,
                journal_format: JOURNAL_FORMAT,
                vdeploy: env!("CARGO_PKG_VERSION").to_owned(),
            },
            Line::Run(Box::new(self.record.clone())),
        ];
        lines.extend(self.rolled_back.clone().map(Line::RolledBack));
        let entries = self.journal.iter().cloned();
        lines.extend(entries.map(|stored| Line::Entry(Box::new(stored))));
        lines.push(Line::End {
            entries: self.journal.len(),
        });
        lines.iter().map(serde_json::to_string).collect()
    }

    /// Reads the text of a file.
    pub fn read(text: &str) -> Result<Self, RecordingError> {
        let mut record = None;
        let mut rolled_back = None;
        let mut journal = Vec::new();
        let mut end = None;
        let lines = text.lines().enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let read: Line = serde_json::from_str(line).map_err(|e| match at {
                0 => RecordingError::Other("its first line is none of one".to_owned()),
                _ => RecordingError::Line {
                    line: at + 1,
                    message: e.to_string(),
                },
            })?;
            if at == 0 && !matches!(read, Line::Recording { .. }) {
                let why = "its first line does not name the format".to_owned();
                return Err(RecordingError::Other(why));
            }
            match read {
                Line::Recording {
                    format,
                    journal_format,
                    vdeploy,
                } => {
                    not_newer("file", format, FORMAT)?;
                    not_newer("journal", journal_format, JOURNAL_FORMAT)?;
                    if journal_format < JOURNAL_FORMAT {
                        return Err(RecordingError::TooOld {
                            vdeploy,
                            found: journal_format,
                            known: JOURNAL_FORMAT,
                        });
                    }
                }
                Line::Run(found) => record = Some(*found),
                Line::RolledBack(found) => rolled_back = Some(found),
                Line::Entry(stored) => journal.push(*stored),
                Line::End { entries } => end = Some(entries),
                Line::Unknown => {}
            }
        }
        let Some(record) = record else {
            return Err(match text.trim().is_empty() {
                true => RecordingError::Other("it is empty".to_owned()),
                false => RecordingError::Cut("it has no run".to_owned()),
            });
        };
        match end {
            Some(entries) if entries == journal.len() => {}
            Some(entries) => {
                let found = journal.len();
                let why = format!("it has {found} entries of {entries}");
                return Err(RecordingError::Cut(why));
            }
            None => return Err(RecordingError::Cut("it has no last line".to_owned())),
        }
        Ok(Self {
            record,
            rolled_back,
            journal,
        })
    }
}

fn not_newer(what: &'static str, found: u32, known: u32) -> Result<(), RecordingError> {
    match found <= known {
        true => Ok(()),
        false => Err(RecordingError::TooNew { what, found, known }),
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
