//! An interrupted run is not continued. The word and its reason are recorded,
//! the run's lease on the target is given back, and a command of it that still
//! runs there is ended. Undoes nothing.

mod on_target;

pub use on_target::LeftThere;

use super::error::{OpsError, OpsErrorKind};
use super::operation::interrupted;
use super::options::SessionOptions;
use super::session::Session;
use std::sync::Arc;
use vdeploy_core::capability::clock::{Clock as _, SystemClock};
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{Entry, Store};
use vdeploy_lease::{LeaseHolder, StoreLease, reclaim};

/// Which run is abandoned, and why.
#[derive(Clone, Debug)]
pub struct Abandon {
    /// An id or its beginning. None is the target's interrupted run.
    pub run: Option<String>,
    /// The target, where no run is named.
    pub target: Option<String>,
    /// Recorded with the run.
    pub reason: String,
}

/// A run that was abandoned.
#[derive(Debug)]
pub struct Abandoned {
    pub run: RunId,
    pub target: TargetName,
    /// What it had left on the target.
    pub there: LeftThere,
}

impl Session {
    /// Records that the run is not continued, and ends what it left on its
    /// target. A target that cannot be asked is no error.
    ///
    /// # Errors
    /// The reason is empty, the run has ended or is running, or the store fails.
    pub async fn abandon(&self, abandon: Abandon) -> Result<Abandoned, OpsError> {
        let reason = abandon.reason.trim();
        if reason.is_empty() {
            return Err(OpsError::usage("--reason is empty")
                .hint("say why, for those who come after you: --reason \"the VM is gone\""));
        }
        let store = self.store()?;
        let named = abandon.run.as_deref();
        let target = match named {
            Some(run) => store.run(run)?.target,
            None => self.target(abandon.target.as_deref())?.0,
        };
        let record = interrupted::find(&*store, named, &target, "abandon")?;
        let actor = &self.options().actor;
        let lease = lease(&store, &record, self.options()).await?;
        let entry = Entry::Abandoned {
            by: actor.name.clone(),
            reason: reason.to_owned(),
        };
        let written = store.append(&record.id, Some(lease.granted()), &entry);
        let there = match &written {
            Ok(_) => on_target::settle(self, &store, &record, reason).await,
            Err(_) => LeftThere::Unknown(String::new()),
        };
        lease.release().await?;
        written?;
        Ok(Abandoned {
            run: record.id,
            target: record.target,
            there,
        })
    }
}

/// Whoever holds the target is running: its run was not interrupted.
async fn lease(
    store: &Arc<dyn Store>,
    record: &RunRecord,
    options: &SessionOptions,
) -> Result<StoreLease, OpsError> {
    let (run, target, actor) = (&record.id, &record.target, &options.actor);
    loop {
        let asked = StoreLease::acquire(
            store.clone(),
            target.clone(),
            run.clone(),
            actor.clone(),
            options.lease_times.in_store,
        );
        let holder = match asked.await? {
            Ok(lease) => return Ok(lease),
            Err(holder) => holder,
        };
        let why = "its process is gone, and the run is abandoned";
        let word = (actor.name.as_str(), why);
        if !reclaim::break_in_store(&**store, target, &holder, run, word)? {
            let now = SystemClock.now_unix_ms();
            let holder = LeaseHolder::in_store(&holder, now);
            let dead = interrupted::dead_run(&**store, &holder);
            let message = holder.message(target, dead.as_ref());
            return Err(OpsError::new(OpsErrorKind::Held, message));
        }
    }
}
