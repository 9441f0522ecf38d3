//! Interrupted runs, for whoever comes to their target next: resume, roll back,
//! or abandon.

use crate::error::{OpsError, OpsErrorKind};
use std::collections::BTreeSet;
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_journal::interrupted::{self, Interrupted};
use vdeploy_journal::store::{Granted, RunRecord};
use vdeploy_journal::{Entry, RunView, Store, StoreError};
use vdeploy_lease::LeaseHolder;
use vdeploy_lease::reclaim::DeadRun;

/// The three ways, as commands. A rollback has no rollback point: the run
/// that it rolls back is rolled back once more.
pub fn ways(record: &RunRecord) -> [String; 3] {
    let run = &record.id;
    let back = record.rolls_back.as_ref().unwrap_or(run);
    [
        format!("vdeploy resume {run}"),
        format!("vdeploy rollback {back}"),
        format!("vdeploy abandon {run} --reason \"REASON\""),
    ]
}

/// The three ways, and what each does.
fn explained(record: &RunRecord) -> String {
    let [resume, rollback, abandon] = ways(record);
    format!(
        "One of:\n  {resume}   go on where it stopped\n  {rollback}   bring back what was live \
         before it\n  {abandon}   leave the target as it is"
    )
}

/// What to do about a holder whose process is gone while it still has its lease:
/// none where the process may be there, where the store does not know the run, or
/// it has ended.
pub fn dead_run(store: &dyn Store, holder: &LeaseHolder) -> Option<DeadRun> {
    let run = &holder.run;
    if !holder.is_gone() {
        return None;
    }
    let record = store.run(run.as_str()).ok().filter(|r| r.id == *run)?;
    let journal = store.journal(run).ok()?;
    let view = RunView::of(&journal);
    if record.dry_run || view.why_not_resumable().is_some() {
        return None;
    }
    Some(match view.began_change() {
        true => DeadRun::Settle {
            text: explained(&record),
            ways: ways(&record),
        },
        false => DeadRun::Early(format!("vdeploy resume {run}")),
    })
}

/// What happened and what each of the three ways does.
pub fn message(found: &Interrupted) -> String {
    let Interrupted {
        record,
        step,
        target_changed,
    } = found;
    let at = step
        .as_ref()
        .map_or_else(String::new, |step| format!(" in step `{step}`"));
    let state = match target_changed {
        true => "and the target was changed, or may have been",
        false => "before it changed the target, but something it had begun may have happened",
    };
    format!(
        "run {} (plan {}, {}) was interrupted{at}, {state}; nothing new is begun before that is \
         settled. {}",
        record.id,
        record.plan.name,
        record.started_by,
        explained(record)
    )
}

/// The interrupted run that stands in the way of one that rolls back `rolls_back`.
/// Its own rollback takes its place, and so does a further rollback of the run
/// that it was rolling back.
pub fn in_the_way(
    store: &dyn Store,
    target: &TargetName,
    rolls_back: Option<&RunId>,
) -> Result<Option<Interrupted>, StoreError> {
    let found = interrupted::of_target(store, target)?;
    Ok(found.filter(|found| {
        rolls_back.is_none_or(|run| {
            found.record.id != *run && found.record.rolls_back.as_ref() != Some(run)
        })
    }))
}

/// The new run takes the place of what was interrupted, never its own.
pub fn replace(
    store: &dyn Store,
    lease: &Granted,
    new: &RunRecord,
) -> Result<Option<RunId>, StoreError> {
    let Some(found) = interrupted::other_than(store, &new.target, &new.id)? else {
        return Ok(None);
    };
    let entry = Entry::Abandoned {
        by: new.started_by.clone(),
        reason: format!("run {} took its place", new.id),
    };
    store.append(&found.record.id, Some(lease), &entry)?;
    Ok(Some(found.record.id))
}

/// No run of the target was interrupted; one of another target is named.
fn none_interrupted(store: &dyn Store, target: &TargetName, what: &str) -> OpsError {
    let error = OpsError::usage(format!(
        "no run on the target `{target}` was interrupted; there is nothing to {what}"
    ));
    let runs = store.runs(None, u32::MAX).unwrap_or_default();
    let others: BTreeSet<&TargetName> = runs.iter().map(|run| &run.target).collect();
    let found: Vec<String> = others
        .into_iter()
        .filter_map(|other| interrupted::of_target(store, other).ok().flatten())
        .map(|found| {
            format!(
                "run {} on the target `{}`",
                found.record.id, found.record.target
            )
        })
        .collect();
    error.hint(match found.is_empty() {
        true => "`vdeploy runs list` shows the runs".to_owned(),
        false => format!("interrupted: {}; name it", found.join(", ")),
    })
}

/// The run that was named, or the target's interrupted one; and that it can be
/// resumed.
pub fn find(
    store: &dyn Store,
    named: Option<&str>,
    target: &TargetName,
    what: &str,
) -> Result<RunRecord, OpsError> {
    let Some(named) = named else {
        let found = interrupted::of_target(store, target)?;
        return match found {
            Some(found) => Ok(found.record),
            None => Err(none_interrupted(store, target, what)),
        };
    };
    let record = store.run(named)?;
    let why_not = match record.dry_run {
        true => Some("it was a dry run and changed nothing".to_owned()),
        false => RunView::of(&store.journal(&record.id)?).why_not_resumable(),
    };
    match why_not {
        None => Ok(record),
        Some(why) => Err(OpsError::new(
            OpsErrorKind::Usage,
            format!("there is nothing to {what} in run {}: {why}", record.id),
        )
        .hint(format!("`vdeploy runs show {}` shows it", record.id))),
    }
}

#[cfg(test)]
#[path = "interrupted_tests.rs"]
mod tests;
