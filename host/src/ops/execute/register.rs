//! Makes a run known in the store: a new one, or one that is gone on with.

use super::{Ready, Request, refused, store_failed};
use crate::cli::rollback::choose;
use crate::cli::unfinished;
use crate::event::{Level, Outcome, RunEvent};
use crate::gate::RunShared;
use crate::journal::store::RunRecord;
use crate::journal::{Entry, StoreError};
use crate::run::{Finished, prepare};

/// Makes the run known: a new one beside no run that was cut off, or one that
/// is gone on with.
pub(super) fn enter(
    ready: &Ready,
    request: &Request,
    shared: &RunShared,
    record: &RunRecord,
) -> Result<(), Finished> {
    let internal = |error: StoreError| store_failed(&record.id, request, &error);
    if request.resumes.is_some() {
        let entry = Entry::Resumed {
            by: record.started_by.clone(),
            host_version: record.host_version.clone(),
        };
        return shared.record(&entry).map_err(internal);
    }
    let store = &*ready.store;
    let rolls_back = request.rolls_back.as_ref().map(|back| &back.run.id);
    // Another process may have done it while the target was waited for.
    if let Some(back) = request.rolls_back.as_ref().filter(|back| !back.again) {
        let to = ready.plan.rollback_to;
        if let Some(why) = choose::already_undone(store, &back.run, to) {
            return Err(refused(Outcome::Refused, why));
        }
    }
    let in_the_way = unfinished::in_the_way(store, &ready.target, rolls_back).map_err(internal)?;
    let traits = prepare::traits(&ready.plan, &ready.plugins, rolls_back.is_some());
    if let Some(found) = in_the_way {
        let message = unfinished::message(&found);
        if !request.dry_run && !traits.may_change.is_empty() {
            return Err(Finished {
                next: unfinished::ways(&found.record).into(),
                beside: Some(found.record.id),
                ..refused(Outcome::Refused, message)
            });
        }
        shared.emit(RunEvent::Log {
            step: None,
            level: Level::Warn,
            message: ready.typed.complete(&message).into_owned(),
        });
    }
    store.create_run(record).map_err(internal)?;
    match &request.without_snapshot {
        Some(reason) => shared.waive_snapshot(reason).map_err(internal),
        None => Ok(()),
    }
}
