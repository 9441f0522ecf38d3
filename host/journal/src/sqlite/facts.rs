//! Facts about targets in the database.

use super::Failure;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use vdeploy_core::ids::TargetName;

pub(super) fn read(
    db: &Connection,
    target: &TargetName,
    key: &str,
) -> Result<Option<String>, Failure> {
    Ok(db
        .prepare("SELECT value FROM fact WHERE target = ?1 AND key = ?2")?
        .query_row(params![target.as_str(), key], |row| row.get(0))
        .optional()?)
}

pub(super) fn write(
    tx: &Transaction<'_>,
    target: &TargetName,
    key: &str,
    value: Option<&str>,
) -> Result<(), Failure> {
    match value {
        Some(value) => tx
            .prepare(
                "INSERT INTO fact (target, key, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
            )?
            .execute(params![target.as_str(), key, value])?,
        None => tx
            .prepare("DELETE FROM fact WHERE target = ?1 AND key = ?2")?
            .execute(params![target.as_str(), key])?,
    };
    Ok(())
}
