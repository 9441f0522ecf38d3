//! Bring back what was live before a run.

use super::Rollback;
use super::select::{self, Candidates};
use crate::error::OpsError;
use crate::prepare::{NewRun, Prepared, compat, rollback_readiness};
use crate::session::Session;
use serde_json::Value;
use std::collections::BTreeMap;
use vdeploy_core::event::{RunEvent, Undoes};
use vdeploy_core::ids::{RunId, StepId};
use vdeploy_journal::store::{RunRecord, Store};
use vdeploy_journal::{RunView, StoreError};

/// Outputs of an earlier run's steps.
pub type Outputs = BTreeMap<StepId, Value>;

/// The run that is rolled back.
#[derive(Debug)]
pub(crate) struct RolledBack {
    pub run: RunRecord,
    /// What its steps returned.
    pub outputs: Outputs,
    /// Also if it was undone already.
    pub again: bool,
}

impl RolledBack {
    pub fn event(&self) -> RunEvent {
        RunEvent::RollbackStarted {
            cause: None,
            undoes: Some(Undoes {
                run: self.run.id.clone(),
                plan: self.run.plan.name.clone(),
                started_at: self.run.started_at,
            }),
        }
    }
}

impl Rollback {
    /// The plan `rollback` against the outputs of the run.
    pub(crate) async fn prepare(self, session: &Session) -> Result<Prepared, OpsError> {
        let store = session.store()?;
        let (record, candidate) = match &self.run {
            Some(run) => (store.run(run)?, None),
            None => {
                let (target, _) = session.target(self.target.as_deref())?;
                let newest = Candidates::of(&*store, &target)?;
                select::settled(&*store, &target, &newest)?;
                let candidate = newest.select(&target)?;
                (candidate.change.clone(), Some(candidate))
            }
        };
        can_be_rolled_back(&record)?;
        compat::has_what_it_needs(session.project(), &record, false)?;
        let outputs = outputs(&*store, &record.id)?;
        let mut plan = session.plan(rollback_readiness::rollback_plan(
            session.project(),
            &record.target,
        ))?;
        let to = self.to.unwrap_or(record.plan.rollback_to);
        plan.rollback_to = to;
        match &candidate {
            Some(candidate) => candidate.check(to)?,
            None if self.again => {}
            None => {
                if let Some(why) = select::already_undone(&*store, &record, to) {
                    return Err(OpsError::usage(why));
                }
            }
        }
        let new = NewRun {
            id: None,
            plan,
            target: Some(record.target.to_string()),
            reference: None,
            set: self.set,
            dry_run: self.dry_run,
            without_snapshot: self.without_snapshot,
            rolls_back: Some(RolledBack {
                run: record,
                outputs,
                again: self.again,
            }),
            wait: self.wait,
        };
        new.prepare(session).await
    }
}

fn can_be_rolled_back(record: &RunRecord) -> Result<(), OpsError> {
    if let Some(first) = &record.rolls_back {
        return Err(OpsError::usage(format!(
            "run {} is a rollback itself, of run {first}; there is nothing to go back to from it",
            record.id
        ))
        .hint(format!(
            "to bring back what was live before run {first}: `vdeploy rollback {first}`"
        )));
    }
    if record.dry_run {
        return Err(OpsError::usage(format!(
            "run {} was a dry run: it changed nothing",
            record.id
        ))
        .hint("`vdeploy runs list` shows the runs"));
    }
    Ok(())
}

/// What the steps of that run returned.
pub fn outputs(store: &dyn Store, run: &RunId) -> Result<Outputs, StoreError> {
    Ok(RunView::of(&store.journal(run)?).cloned_outputs())
}
