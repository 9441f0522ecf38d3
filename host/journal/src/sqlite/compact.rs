//! How much room the database takes, and giving back what is free in it.

use super::{Failure, error, from_db, to_db};
use crate::StoreError;
use crate::store::Compacted;
use rusqlite::{Connection, OptionalExtension};

pub(super) fn size(db: &Connection, path: &str) -> Result<u64, Failure> {
    let pages = pragma(db, "page_count")?.saturating_mul(pragma(db, "page_size")?);
    Ok(match std::fs::metadata(path) {
        Ok(file) => {
            let log = std::fs::metadata(format!("{path}-wal")).map_or(0, |log| log.len());
            file.len().saturating_add(log)
        }
        // One in memory.
        Err(_) => pages,
    })
}

/// Writes the database anew without its free pages. That takes the write lock
/// for as long as it takes, which no run could wait for.
pub(super) fn compact(db: &Connection, now: u64, path: &str) -> Result<Compacted, Failure> {
    if pragma(db, "freelist_count")? == 0 {
        return Ok(Compacted::Done);
    }
    if let Some((run, target)) = at_work(db, now)? {
        return Ok(Compacted::Later(format!(
            "run {run} is running on `{target}`; try again when it has ended"
        )));
    }
    let written = match db.execute_batch("VACUUM") {
        Ok(()) => Ok(Compacted::Done),
        Err(failed) if error::is_busy(&failed) => Ok(busy()),
        Err(failed) => Err(no_room(db, path, &failed)),
    };
    // Only now the file gets smaller, and the log beside it, also after a
    // failure.
    let log_is_in_use: bool =
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match written? {
        Compacted::Done if log_is_in_use => Ok(busy()),
        done => Ok(done),
    }
}

/// Takes what was committed out of the log, so that the next transaction uses
/// its room again: a removal that has a full disk to mend finds little more.
pub(super) fn empty_log(db: &Connection) {
    // Who reads at the moment holds it up; then it is done later.
    let _ = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

fn busy() -> Compacted {
    Compacted::Later("another process uses the store; try again when it has ended".to_owned())
}

/// A run that holds a lease.
fn at_work(db: &Connection, now: u64) -> Result<Option<(String, String)>, Failure> {
    Ok(db
        .prepare("SELECT run, target FROM lease WHERE run IS NOT NULL AND expires > ?1 LIMIT 1")?
        .query_row([to_db(now)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Says how much room it wants.
fn no_room(db: &Connection, path: &str, failed: &rusqlite::Error) -> StoreError {
    let used = || {
        let pages = pragma(db, "page_count")?.saturating_sub(pragma(db, "freelist_count")?);
        Ok::<_, Failure>(pages.saturating_mul(pragma(db, "page_size")?) >> 20)
    };
    match error::database(path, failed) {
        StoreError::Database { path, message } => StoreError::Database {
            path,
            message: match used() {
                Ok(mebibytes) => format!(
                    "{message}; it is written anew for that, which wants {} MiB beside it for a \
                     moment, and as much where temporary files are",
                    mebibytes.saturating_add(1)
                ),
                Err(_) => message,
            },
        },
        other => other,
    }
}

fn pragma(db: &Connection, name: &str) -> Result<u64, Failure> {
    Ok(from_db(db.query_row(
        &format!("PRAGMA {name}"),
        [],
        |row| row.get(0),
    )?))
}
