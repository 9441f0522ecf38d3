//! Removing runs from the database: what is known of each, and the removal
//! itself, which looks again inside of its transaction.

use super::{Failure, facts, from_db, lease_breaks, runs, to_db, unjson};
use crate::entry::Entry;
use crate::prune::{Hold, PruneCandidate};
use crate::relocations;
use crate::run_view::{Relocation, RunView};
use crate::store::{RunSummary, Stored};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use vdeploy_core::ids::{RunId, TargetName, VmId};

pub(super) fn survey(
    db: &Connection,
    now: u64,
    target: Option<&TargetName>,
) -> Result<Vec<PruneCandidate>, Failure> {
    // One moment for all of it; it is dropped, for nothing is written.
    let tx = db.unchecked_transaction()?;
    runs::list(&tx, target, u32::MAX)?
        .into_iter()
        .map(|run| surveyed(&tx, now, run))
        .collect()
}

fn surveyed(db: &Connection, now: u64, run: RunSummary) -> Result<PruneCandidate, Failure> {
    let outline = outline(db, &run.id)?;
    let view = RunView::of(&outline);
    let mut unrecorded_relocation = None;
    for Relocation { from, to } in &view.relocations {
        if let Some(from) = from
            && facts::read(db, &run.target, &relocations::key(from))?.is_none()
        {
            unrecorded_relocation = Some(VmId::clone(to));
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
    Ok(PruneCandidate {
        rolls_back: run.rolls_back,
        changed: view.target_changed(),
        unsettled: view.is_unsettled(),
        hold,
        unrecorded_relocation,
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

/// The journal without the results of calls that went well: they are nearly all
/// of it, and nothing that is asked here depends on them.
fn outline(db: &Connection, run: &RunId) -> Result<Vec<Stored>, Failure> {
    let rows = db
        .prepare(
            r#"SELECT seq, at, entry FROM journal
             WHERE run = ?1 AND (entry NOT LIKE '{"entry":"result"%'
               OR instr(entry, '"response":{"Err":') > 0)
             ORDER BY seq"#,
        )?
        .query_map([run.as_str()], |row| {
            let entry: String = row.get(2)?;
            Ok((from_db(row.get(0)?), from_db(row.get(1)?), entry))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter()
        .map(|(seq, at, entry)| {
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
pub(super) fn remove(
    tx: &Transaction<'_>,
    now: u64,
    run: &PruneCandidate,
) -> Result<bool, Failure> {
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
    facts::write(tx, &run.target, &lease_breaks::key(&run.id), None)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
