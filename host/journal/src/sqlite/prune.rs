//! Removing runs from the database: what is known of each, and the removal
//! itself, which looks again inside of its transaction.

use super::{Failure, breaks, facts, from_db, runs, to_db, unjson};
use crate::entry::Entry;
use crate::moves;
use crate::prune::{Hold, Surveyed};
use crate::store::{RunSummary, Stored};
use crate::unfinished;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use vdeploy_core::ids::{RunId, TargetName, VmId};

pub(super) fn survey(
    db: &Connection,
    now: u64,
    target: Option<&TargetName>,
) -> Result<Vec<Surveyed>, Failure> {
    // One moment for all of it; it is dropped, for nothing is written.
    let tx = db.unchecked_transaction()?;
    runs::list(&tx, target, u32::MAX)?
        .into_iter()
        .map(|run| surveyed(&tx, now, run))
        .collect()
}

fn surveyed(db: &Connection, now: u64, run: RunSummary) -> Result<Surveyed, Failure> {
    let seen = unfinished::look(&outline(db, &run.id)?);
    let mut untold_move = None;
    for (from, to) in &seen.moves {
        if facts::read(db, &run.target, &moves::key(from))?.is_none() {
            untold_move = Some(VmId::clone(to));
        }
    }
    let (entries, bytes) = db
        .prepare(
            "SELECT (SELECT count(*) FROM journal WHERE run = ?1),
               octet_length(record)
                 + (SELECT coalesce(sum(octet_length(entry)), 0) FROM journal WHERE run = ?1)
             FROM run WHERE id = ?1",
        )?
        .query_row([run.id.as_str()], |row| {
            Ok((from_db(row.get(0)?), from_db(row.get(1)?)))
        })?;
    let hold = hold(db, now, &run.id, &run.target)?;
    Ok(Surveyed {
        rolls_back: run.rolls_back,
        changed: seen.changed,
        unsettled: seen.is_unsettled(run.outcome),
        hold,
        untold_move,
        entries,
        bytes,
        id: run.id,
        target: run.target,
        plan: run.plan,
        started_at: run.started_at,
        outcome: run.outcome,
        dry_run: run.dry_run,
    })
}

/// The journal without most of the results of calls: they are nearly all of it
/// and say nothing of how far the run came.
fn outline(db: &Connection, run: &RunId) -> Result<Vec<Stored>, Failure> {
    const RESULT: &str = "{\"entry\":\"result\"";
    let rows = db
        .prepare(
            "SELECT seq, at, format, entry FROM journal
             WHERE run = ?1 AND substr(entry, 1, length(?2)) <> ?2 ORDER BY seq",
        )?
        .query_map(params![run.as_str(), RESULT], |row| {
            let format: u32 = row.get(2)?;
            let entry: String = row.get(3)?;
            Ok((from_db(row.get(0)?), from_db(row.get(1)?), format, entry))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter()
        .map(|(seq, at, format, entry)| {
            runs::check_format(format)?;
            let entry: Entry = unjson(&format!("journal entry {seq} of run {run}"), &entry)?;
            Ok(Stored { seq, at, entry })
        })
        .collect()
}

/// What the lease on the run's target says of it.
fn hold(db: &Connection, now: u64, run: &RunId, target: &TargetName) -> Result<Hold, Failure> {
    let named: Option<(bool, bool, bool)> = db
        .prepare(
            "SELECT run = ?2, expires > ?3, EXISTS (SELECT 1 FROM run WHERE id = lease.run)
             FROM lease WHERE target = ?1 AND run IS NOT NULL",
        )?
        .query_row(params![target.as_str(), run.as_str(), to_db(now)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(match named {
        Some((true, true, _)) => Hold::AtWork,
        Some((true, false, _)) => Hold::RanOut,
        Some((false, _, false)) => Hold::Beginning,
        None | Some((false, _, true)) => Hold::Free,
    })
}

/// Removes it, unless it has changed since it was surveyed, or another run has
/// come to need it.
pub(super) fn remove(tx: &Transaction<'_>, now: u64, run: &Surveyed) -> Result<bool, Failure> {
    let is_there: bool = tx
        .prepare("SELECT EXISTS (SELECT 1 FROM run WHERE id = ?1)")?
        .query_row([run.id.as_str()], |row| row.get(0))?;
    if !is_there {
        return Ok(true);
    }
    if hold(tx, now, &run.id, &run.target)? != Hold::Free {
        return Ok(false);
    }
    let outcome = run
        .outcome
        .map(|outcome| super::json("outcome", &outcome))
        .transpose()?;
    let removed = tx
        .prepare(
            "DELETE FROM run
             WHERE id = ?1 AND outcome IS ?3
               AND (SELECT count(*) FROM journal WHERE run = ?1) = ?4
               AND NOT EXISTS (
                 SELECT 1 FROM run AS other
                 WHERE other.target = ?2 AND other.id <> ?1 AND instr(other.record, ?1) > 0
                   AND json_extract(other.record, '$.\"rolls-back\"') = ?1)",
        )?
        .execute(params![
            run.id.as_str(),
            run.target.as_str(),
            outcome,
            to_db(run.entries)
        ])?;
    if removed == 0 {
        return Ok(false);
    }
    // Its journal has gone with it.
    facts::write(tx, &run.target, &breaks::key(&run.id), None)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
