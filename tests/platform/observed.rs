//! What the rows came to, as a table for people: written when
//! `VDEPLOY_TESTS_TABLE` names a file.

use crate::row::Row;
use anyhow::Result;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// Characters of a message in the table.
const LONGEST: usize = 600;

/// Rows and the messages that they ended with.
#[derive(Debug, Default)]
pub struct Observed(Mutex<Vec<(Row, String)>>);

impl Observed {
    /// Keeps what a row came to.
    pub fn add(&self, row: Row, message: String) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push((row, message));
    }

    /// Writes the table if somebody asked for it.
    pub fn write(&self) -> Result<()> {
        let Some(path) = std::env::var_os("VDEPLOY_TESTS_TABLE") else {
            return Ok(());
        };
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.sort_by_key(|(row, _)| row.title());
        let mut text = "| case | app | exit code | outcome | live | message |\n\
                        |---|---|---|---|---|---|\n"
            .to_owned();
        for (row, message) in rows.iter() {
            let short: String = message.chars().take(LONGEST).collect();
            let cell = short.replace('|', "\\|").replace('\n', "<br>");
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {cell} |",
                row.title(),
                row.app,
                row.code,
                row.outcome,
                row.live
            )?;
        }
        std::fs::write(path, text)?;
        Ok(())
    }
}
