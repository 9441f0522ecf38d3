//! Stored runs, with what the leases and later runs say of them.

use super::error::OpsError;
use std::collections::BTreeMap;
use vdeploy_core::capability::clock::{Clock as _, SystemClock};
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_journal::lease_breaks::{self, LeaseBreak};
use vdeploy_journal::store::{Holder, RunRecord, RunSummary, Stored};
use vdeploy_journal::{RunView, Store, effective};
use vdeploy_lease::LeaseHolder;

/// The newest runs, newest first.
#[derive(Debug)]
pub struct RunList {
    pub runs: Vec<RunSummary>,
    /// Those that hold their target and whose process is not known to be gone.
    pub running: Vec<RunId>,
    /// Those that were interrupted and that somebody has abandoned.
    pub abandoned: Vec<RunId>,
    /// Which run has undone which.
    pub undone: BTreeMap<RunId, RunId>,
}

/// Everything that is stored of one run.
#[derive(Debug)]
pub struct RunDetails {
    pub record: RunRecord,
    pub journal: Vec<Stored>,
    pub is_running: bool,
    pub undone: BTreeMap<RunId, RunId>,
    /// How its lease was broken.
    pub lease_break: Option<LeaseBreak>,
}

/// At most `limit` runs, of one target or of all.
///
/// # Errors
/// What the store says.
pub fn runs(
    store: &dyn Store,
    target: Option<&TargetName>,
    limit: u32,
) -> Result<RunList, OpsError> {
    let runs = store.runs(target, limit)?;
    let mut running = Vec::new();
    let mut abandoned = Vec::new();
    for run in &runs {
        if is_running(store, &run.id, &run.target)? {
            running.push(run.id.clone());
        }
        if run.outcome == Some(Outcome::Interrupted)
            && RunView::of(&store.journal(&run.id)?).is_abandoned()
        {
            abandoned.push(run.id.clone());
        }
    }
    Ok(RunList {
        undone: effective::undone(&runs),
        runs,
        running,
        abandoned,
    })
}

/// One run: an id, its beginning, or `latest`.
///
/// # Errors
/// The store has no such run, or several.
pub fn run(store: &dyn Store, run: &str) -> Result<RunDetails, OpsError> {
    let record = store.run(run)?;
    Ok(RunDetails {
        journal: store.journal(&record.id)?,
        is_running: is_running(store, &record.id, &record.target)?,
        undone: effective::undone(&store.runs(Some(&record.target), u32::MAX)?),
        lease_break: lease_breaks::of_run(store, &record.target, &record.id)?,
        record,
    })
}

fn is_running(store: &dyn Store, run: &RunId, target: &TargetName) -> Result<bool, OpsError> {
    let holder = store.lease_holder(target)?;
    Ok(holder.is_some_and(|holder| holder.run == *run && !is_gone(&holder)))
}

fn is_gone(holder: &Holder) -> bool {
    LeaseHolder::in_store(holder, SystemClock.now_unix_ms()).is_gone()
}
