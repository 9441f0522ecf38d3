//! Which run a rollback undoes, and when it does not: nothing is undone twice
//! because a command was sent twice.

use crate::error::{OpsError, OpsErrorKind};
use crate::operation::interrupted;
use vdeploy_core::capability::clock::{Clock as _, SystemClock};
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_core::plan::RollbackTo;
use vdeploy_journal::effective::{Effects, RunEffect};
use vdeploy_journal::moment::moment;
use vdeploy_journal::store::{RunRecord, Store};
use vdeploy_journal::{RunView, StoreError};
use vdeploy_lease::LeaseHolder;

/// What the newest runs of a target have left.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// The rollback that ended well and after which nothing was changed.
    pub back: Option<RunRecord>,
    /// The newest change that is in effect.
    pub change: Option<RunRecord>,
}

impl Candidates {
    /// Looks.
    pub(crate) fn of(store: &dyn Store, target: &TargetName) -> Result<Self, StoreError> {
        let mut newest = Self::default();
        let mut effects = Effects::default();
        for summary in store.runs(Some(target), u32::MAX)? {
            let id = &summary.id;
            match effects.next_run(&summary) {
                RunEffect::Reverts if newest.back.is_none() => {
                    newest.back = Some(store.run(id.as_str())?)
                }
                RunEffect::InEffect if RunView::of(&store.journal(id)?).target_changed() => {
                    newest.change = Some(store.run(id.as_str())?);
                    break;
                }
                _ => {}
            }
        }
        Ok(newest)
    }

    /// The run that is undone where none is named; there may be none left.
    pub(crate) fn select(self, target: &TargetName) -> Result<Candidate, OpsError> {
        match (self.change, self.back) {
            (Some(change), back) => Ok(Candidate { change, back }),
            (None, Some(back)) => Err(OpsError::usage(format!(
                "nothing is left to undo on the target `{target}`: {}; nothing was touched",
                undone_by(&back)
            ))
            .hint(
                "`vdeploy runs list` shows the runs; to go back from one of them all the same, \
                 name it: `vdeploy rollback RUN`",
            )),
            (None, None) => Err(OpsError::usage(format!(
                "no run has changed the target `{target}` yet"
            ))
            .hint("`vdeploy runs list` shows the runs; name one: `vdeploy rollback RUN`")),
        }
    }
}

/// Why a rollback of `run` may break the lease of `holder`, whose process is
/// gone: it takes the place of that run, or of an earlier rollback of it.
pub fn takes_over(store: &dyn Store, run: &RunId, holder: &RunId) -> Option<&'static str> {
    let rolls_it_back = || {
        let record = store.run(holder.as_str()).ok()?;
        (record.rolls_back.as_ref() == Some(run)).then_some(())
    };
    (run == holder || rolls_it_back().is_some())
        .then_some("its process is gone, and the run is rolled back")
}

/// The run that was found where none was named.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub change: RunRecord,
    back: Option<RunRecord>,
}

impl Candidate {
    /// A second rollback in a row goes one run further back. To a snapshot it
    /// would take what was written since out of service, so there the run is to
    /// be named.
    pub(crate) fn check(&self, to: RollbackTo) -> Result<(), OpsError> {
        let (Some(back), RollbackTo::Snapshot) = (&self.back, to) else {
            return Ok(());
        };
        let run = &self.change.id;
        Err(OpsError::usage(format!(
            "{} already. Going further back, to the snapshot from before run {run} (plan {}, {}), \
             would take what was written since out of service; nothing was touched",
            undone_by(back),
            self.change.plan.name,
            moment(self.change.started_at),
        ))
        .hint(format!(
            "if that is wanted, name the run: `vdeploy rollback {run} --to snapshot`; with the data \
             as they are: `vdeploy rollback {run} --to in-place`"
        )))
    }
}

/// Why a run is not undone once more: the newest change of its target is the
/// rollback that has undone it, in the same way.
pub fn already_undone(store: &dyn Store, run: &RunRecord, to: RollbackTo) -> Option<String> {
    // Another run that cannot be read is no reason not to go back from this one.
    let newest = Candidates::of(store, &run.target).unwrap_or_default();
    let same =
        |back: &RunRecord| back.rolls_back.as_ref() == Some(&run.id) && back.plan.rollback_to == to;
    let back = newest.back.filter(same)?;
    let further = newest.change.map_or_else(String::new, |change| {
        format!(
            "\nto go further back, to what was live before run {id} (plan {}, {}): `vdeploy \
             rollback {id}`",
            change.plan.name,
            moment(change.started_at),
            id = change.id
        )
    });
    Some(format!(
        "{} already, and nothing has changed the target `{}` since; nothing was touched{further}\n\
         to do it once more all the same: `vdeploy rollback {} --to {} --again`",
        undone_by(&back),
        run.target,
        run.id,
        match to {
            RollbackTo::InPlace => "in-place",
            RollbackTo::Snapshot => "snapshot",
        }
    ))
}

fn undone_by(back: &RunRecord) -> String {
    let first = back.rolls_back.as_ref().map_or("?", RunId::as_str);
    format!(
        "run {first} was undone by the rollback {} ({})",
        back.id,
        moment(back.started_at)
    )
}

/// Refuses while a run is running: which change is the newest is not known
/// before it has ended. One whose process is gone ends no more.
pub(crate) fn settled(
    store: &dyn Store,
    target: &TargetName,
    newest: &Candidates,
) -> Result<(), OpsError> {
    let Some(holder) = store.lease_holder(target)? else {
        return Ok(());
    };
    let now = SystemClock.now_unix_ms();
    let holding = LeaseHolder::in_store(&holder, now);
    let change = newest.change.as_ref().map(|change| &change.id);
    let is_gone = holding.is_gone();
    if change.is_some_and(|run| is_gone && takes_over(store, run, &holder.run).is_some()) {
        return Ok(());
    }
    let dead = interrupted::dead_run(store, &holding);
    let held = holding.message(target, dead.as_ref());
    Err(OpsError::new(OpsErrorKind::Held, held).hint(format!(
        "which change is the newest one is not known yet; to wait for it, name the run that is to \
         be rolled back, for example `vdeploy rollback {} --wait 600`",
        holder.run
    )))
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
