//! Registers a run in the store: a new one, or one that is resumed.

use super::origin::refused;
use crate::operation::{interrupted, select};
use crate::prepare::Prepared;
use vdeploy_core::event::{Level, Outcome, RunEvent};
use vdeploy_gate::RunShared;
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{Entry, StoreError};
use vdeploy_run::{Finished, prepare};

impl Prepared {
    /// A new run is registered beside no interrupted one.
    pub(super) fn register(&self, shared: &RunShared, record: &RunRecord) -> Result<(), Finished> {
        let failed = |error: StoreError| self.origin.store_failed(&error);
        if self.origin.resumed().is_some() {
            let entry = Entry::Resumed {
                by: record.started_by.clone(),
                host_version: record.host_version.clone(),
            };
            return shared.recorder.append(&entry).map_err(failed);
        }
        let assembly = &self.assembly;
        let store = &*assembly.store;
        let rolls_back = self.origin.rolls_back();
        // Another process may have done it while the target was waited for.
        if let Some(back) = rolls_back.filter(|back| !back.again)
            && let Some(why) = select::already_undone(store, &back.run, assembly.plan.rollback_to)
        {
            return Err(refused(Outcome::Refused, why));
        }
        let rolled_back = rolls_back.map(|back| &back.run.id);
        let found = interrupted::in_the_way(store, &assembly.target, rolled_back);
        if let Some(found) = found.map_err(failed)? {
            let message = interrupted::message(&found);
            let traits = prepare::traits(&assembly.plan, &assembly.plugins, rolls_back.is_some());
            if !assembly.dry_run && !traits.may_change.is_empty() {
                return Err(Finished {
                    next: interrupted::ways(&found.record).into(),
                    blocking_run: Some(found.record.id),
                    ..refused(Outcome::Refused, message)
                });
            }
            shared.recorder.emit(RunEvent::Log {
                step: None,
                level: Level::Warn,
                message,
            });
        }
        store.create_run(record).map_err(failed)?;
        match self.origin.without_snapshot() {
            Some(reason) => shared.waive_snapshot(reason).map_err(failed),
            None => Ok(()),
        }
    }
}
