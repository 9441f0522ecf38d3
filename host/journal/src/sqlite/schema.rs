//! The tables, and the format that a file must have. Nothing was released yet:
//! one schema, and a file of any other format is refused.

use super::error;
use crate::StoreError;
use crate::entry::FORMAT;
use rusqlite::{Connection, TransactionBehavior};
use std::cmp::Ordering;

const TABLES: &str = "
    CREATE TABLE run (
        id          TEXT PRIMARY KEY,
        target      TEXT NOT NULL,
        plan        TEXT NOT NULL,
        started_by  TEXT NOT NULL,
        started_at  INTEGER NOT NULL,
        finished_at INTEGER,
        outcome     TEXT,
        dry_run     INTEGER NOT NULL,
        record      TEXT NOT NULL
    ) STRICT;
    CREATE INDEX run_by_start ON run (started_at);
    CREATE INDEX run_by_target ON run (target, started_at);

    CREATE TABLE journal (
        run   TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        seq   INTEGER NOT NULL,
        at    INTEGER NOT NULL,
        entry TEXT NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT;

    -- A released lease keeps its row, so that the token never goes back.
    CREATE TABLE lease (
        target  TEXT PRIMARY KEY,
        token   INTEGER NOT NULL,
        run     TEXT,
        who     TEXT,
        since   INTEGER,
        expires INTEGER,
        ttl     INTEGER
    ) STRICT;

    CREATE TABLE fact (
        target TEXT NOT NULL,
        key    TEXT NOT NULL,
        value  TEXT NOT NULL,
        PRIMARY KEY (target, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE plugin_state (
        plugin TEXT NOT NULL,
        target TEXT NOT NULL,
        key    TEXT NOT NULL,
        value  BLOB NOT NULL,
        PRIMARY KEY (plugin, target, key)
    ) STRICT;
    ";

/// Makes the tables in an empty file. Of two processes that find the same one,
/// the second waits for the first and finds them made.
///
/// # Errors
/// `TooOld` or `TooNew` for a file of another format, else `Database`.
pub(super) fn prepare(db: &mut Connection, path: &str) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| error::database(path, &error);
    let mut found = format(db).map_err(failed)?;
    if found == 0 {
        found = create(db).map_err(failed)?;
    }
    let (path, known) = (path.to_owned(), FORMAT);
    match found.cmp(&known) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(StoreError::TooOld { path, found, known }),
        Ordering::Greater => Err(StoreError::TooNew { path, found, known }),
    }
}

/// Returns the format that the file has afterwards.
fn create(db: &mut Connection) -> rusqlite::Result<u32> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = format(&tx)?;
    if found != 0 {
        return Ok(found);
    }
    tx.execute_batch(TABLES)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()?;
    Ok(FORMAT)
}

/// 0 for an empty file.
fn format(db: &Connection) -> rusqlite::Result<u32> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}
