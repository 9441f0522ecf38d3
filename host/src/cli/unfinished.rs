//! What is said of a run that was cut off, to whoever comes to its target next:
//! go on with it, go back, or leave it.

use super::error::CliError;
use super::exit::ExitCode;
use crate::ids::{RunId, TargetName};
use crate::journal::store::{Granted, RunRecord};
use crate::journal::unfinished::{self, Unfinished};
use crate::journal::{Entry, Store, StoreError};

/// The three ways, as commands.
pub fn ways(run: &RunId) -> [String; 3] {
    [
        format!("vdeploy resume {run}"),
        format!("vdeploy rollback {run}"),
        format!("vdeploy abandon {run} --reason \"REASON\""),
    ]
}

/// What happened and what each of the three ways does.
pub fn message(found: &Unfinished) -> String {
    let Unfinished {
        record,
        step,
        changed,
    } = found;
    let at = step
        .as_ref()
        .map_or_else(String::new, |step| format!(" in step `{step}`"));
    let state = match changed {
        true => "and the target was changed, or may have been",
        false => "before it changed the target, but something it had begun may have happened",
    };
    let [resume, rollback, abandon] = ways(&record.id);
    format!(
        "run {} (plan {}, {}) was cut off{at}, {state}; nothing new is begun before that is \
         settled. One of:\n  {resume}   go on where it stopped\n  {rollback}   bring back what was \
         live before it\n  {abandon}   leave the target as it is",
        record.id, record.plan.name, record.started_by
    )
}

/// The unfinished run that stands in the way of one that rolls back `rolls_back`.
/// Its own rollback takes its place, and so does a further rollback of the run
/// that it was rolling back.
pub fn in_the_way(
    store: &dyn Store,
    target: &TargetName,
    rolls_back: Option<&RunId>,
) -> Result<Option<Unfinished>, StoreError> {
    let found = unfinished::of_target(store, target)?;
    Ok(found.filter(|found| {
        rolls_back.is_none_or(|run| {
            found.record.id != *run && found.record.rolls_back.as_ref() != Some(run)
        })
    }))
}

/// The new run takes the place of what was cut off.
pub fn replace(
    store: &dyn Store,
    lease: &Granted,
    new: &RunRecord,
) -> Result<Option<RunId>, StoreError> {
    let Some(found) = unfinished::of_target(store, &new.target)? else {
        return Ok(None);
    };
    let entry = Entry::Abandoned {
        by: new.started_by.clone(),
        reason: format!("run {} took its place", new.id),
    };
    store.append(&found.record.id, Some(lease), &entry)?;
    Ok(Some(found.record.id))
}

/// The run that was named, or the target's unfinished one; and that it can be
/// gone on with.
pub fn find(
    store: &dyn Store,
    named: Option<&str>,
    target: &TargetName,
    what: &str,
) -> Result<RunRecord, CliError> {
    let Some(named) = named else {
        let found = unfinished::of_target(store, target)?;
        return found.map(|found| found.record).ok_or_else(|| {
            CliError::usage(format!(
                "no run on the target `{target}` was cut off; there is nothing to {what}"
            ))
            .hint("`vdeploy runs list` shows the runs")
        });
    };
    let record = store.run(named)?;
    let why_not = match record.dry_run {
        true => Some("it was a dry run and changed nothing".to_owned()),
        false => unfinished::why_not(&store.journal(&record.id)?),
    };
    match why_not {
        None => Ok(record),
        Some(why) => Err(CliError::new(
            ExitCode::Usage,
            format!("there is nothing to {what} in run {}: {why}", record.id),
        )
        .hint(format!("`vdeploy runs show {}` shows it", record.id))),
    }
}
