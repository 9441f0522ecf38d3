//! Runs and their journals in the database.

use super::{Failure, from_db, json, to_db, unjson};
use crate::StoreError;
use crate::entry::Entry;
use crate::store::{Granted, RunRecord, RunSummary, Stored};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{RunId, TargetName};

/// How many runs an ambiguous prefix names at most.
const MATCHES: u32 = 8;

pub(super) fn create(tx: &Transaction<'_>, record: &RunRecord) -> Result<(), Failure> {
    let inserted = tx
        .prepare(
            "INSERT INTO run (id, target, plan, started_by, started_at, dry_run, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            record.id.as_str(),
            record.target.as_str(),
            record.plan.name.as_str(),
            record.started_by,
            to_db(record.started_at),
            record.dry_run,
            json("run", record)?,
        ])?;
    if inserted == 0 {
        return Err(Failure::Refused(format!(
            "there is a run `{}` already; each run needs an id of its own",
            record.id
        )));
    }
    Ok(())
}

/// Appends in order; returns the number of the last.
pub(super) fn append(
    tx: &Transaction<'_>,
    now: u64,
    run: &RunId,
    lease: Option<&Granted>,
    entries: &[Entry],
) -> Result<u64, Failure> {
    if let Some(lease) = lease {
        super::lease::check(tx, now, lease)?;
    }
    let (last, mut ended): (Option<i64>, bool) = tx
        .prepare(
            "SELECT (SELECT max(seq) FROM journal WHERE run = ?1), finished_at IS NOT NULL
             FROM run WHERE id = ?1",
        )?
        .query_row([run.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| StoreError::NoRun(run.to_string()))?;
    let mut seq = last.unwrap_or(0);
    let mut insert =
        tx.prepare("INSERT INTO journal (run, seq, at, entry) VALUES (?1, ?2, ?3, ?4)")?;
    for entry in entries {
        seq = seq.saturating_add(1);
        insert.execute(params![
            run.as_str(),
            seq,
            to_db(now),
            json("journal entry", entry)?
        ])?;
        let end = match entry {
            Entry::Finished { outcome, .. } => Some(*outcome),
            Entry::Abandoned { .. } => Some(Outcome::Interrupted),
            _ => None,
        };
        if let Some(outcome) = end {
            tx.prepare("UPDATE run SET finished_at = ?2, outcome = ?3 WHERE id = ?1")?
                .execute(params![
                    run.as_str(),
                    to_db(now),
                    json("outcome", &outcome)?
                ])?;
            ended = true;
        } else if std::mem::take(&mut ended) {
            // An interrupted run was resumed.
            tx.prepare("UPDATE run SET finished_at = NULL, outcome = NULL WHERE id = ?1")?
                .execute([run.as_str()])?;
        }
    }
    Ok(from_db(seq))
}

/// The newest run is the one that was stored last: a clock may be set back. Row
/// numbers may change when the file is written anew (`VACUUM`); their order does
/// not.
pub(super) fn find(db: &Connection, id_or_prefix: &str) -> Result<RunRecord, Failure> {
    let exact = if id_or_prefix == "latest" {
        db.prepare("SELECT id, record FROM run ORDER BY rowid DESC LIMIT 1")?
            .query_row([], record_row)
            .optional()?
    } else {
        db.prepare("SELECT id, record FROM run WHERE id = ?1")?
            .query_row([id_or_prefix], record_row)
            .optional()?
    };
    let found = match exact {
        Some(row) => row,
        None if id_or_prefix.is_empty() || id_or_prefix == "latest" => {
            return Err(StoreError::NoRun(id_or_prefix.to_owned()).into());
        }
        None => by_prefix(db, id_or_prefix)?,
    };
    let (id, record) = found;
    unjson(&format!("run {id}"), &record)
}

type RecordRow = (String, String);

fn record_row(row: &Row<'_>) -> rusqlite::Result<RecordRow> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Ids are upper case; people type lower case.
fn by_prefix(db: &Connection, prefix: &str) -> Result<RecordRow, Failure> {
    let mut found = db
        .prepare(
            "SELECT id, record FROM run
             WHERE upper(substr(id, 1, length(?1))) = upper(?1) ORDER BY id LIMIT ?2",
        )?
        .query_map(params![prefix, MATCHES], record_row)?
        .collect::<Result<Vec<_>, _>>()?;
    match found.pop() {
        None => Err(StoreError::NoRun(prefix.to_owned()).into()),
        Some(only) if found.is_empty() => Ok(only),
        Some(last) => Err(StoreError::AmbiguousRun {
            prefix: prefix.to_owned(),
            matches: found.into_iter().chain([last]).map(|row| row.0).collect(),
        }
        .into()),
    }
}

pub(super) fn list(
    db: &Connection,
    target: Option<&TargetName>,
    limit: u32,
) -> Result<Vec<RunSummary>, Failure> {
    let rows = db
        .prepare(
            // Most records are of no rollback: those are not parsed.
            "SELECT id, plan, target, started_by, started_at, finished_at, outcome, dry_run,
               CASE WHEN instr(record, '\"rolls-back\":\"') > 0
                 THEN json_extract(record, '$.\"rolls-back\"') END
             FROM run WHERE ?1 IS NULL OR target = ?1
             ORDER BY rowid DESC LIMIT ?2",
        )?
        .query_map(params![target.map(TargetName::as_str), limit], |row| {
            let outcome: Option<String> = row.get(6)?;
            Ok((
                RunSummary {
                    id: RunId::new(row.get::<_, String>(0)?),
                    plan: row.get::<_, String>(1)?.as_str().into(),
                    target: TargetName::new(row.get::<_, String>(2)?),
                    started_by: row.get(3)?,
                    started_at: from_db(row.get(4)?),
                    finished_at: row.get::<_, Option<i64>>(5)?.map(from_db),
                    outcome: None,
                    dry_run: row.get(7)?,
                    rolls_back: row.get::<_, Option<String>>(8)?.map(RunId::new),
                },
                outcome,
            ))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter()
        .map(|(mut summary, outcome)| {
            summary.outcome = outcome
                .map(|text| unjson(&format!("outcome of run {}", summary.id), &text))
                .transpose()?;
            Ok(summary)
        })
        .collect()
}

pub(super) fn journal(db: &Connection, run: &RunId) -> Result<Vec<Stored>, Failure> {
    let rows = db
        .prepare("SELECT seq, at, entry FROM journal WHERE run = ?1 ORDER BY seq")?
        .query_map([run.as_str()], |row| {
            let entry: String = row.get(2)?;
            Ok((from_db(row.get(0)?), from_db(row.get(1)?), entry))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        let known: bool = db
            .prepare("SELECT EXISTS (SELECT 1 FROM run WHERE id = ?1)")?
            .query_row([run.as_str()], |row| row.get(0))?;
        if !known {
            return Err(StoreError::NoRun(run.to_string()).into());
        }
    }
    (1..)
        .zip(rows)
        .map(|(expected, (seq, at, entry))| {
            let what = format!("journal entry {seq} of run {run}");
            if seq != expected {
                return Err(StoreError::Corrupt {
                    what,
                    message: format!("entry {expected} is missing before it"),
                }
                .into());
            }
            let entry = unjson(&what, &entry)?;
            Ok(Stored { seq, at, entry })
        })
        .collect()
}
