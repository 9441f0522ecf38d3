//! Takes the target from a run: breaks its lease in the store and on the target
//! itself, and records it.

use super::status::{self, LeaseStatus, OnTargetStatus};
use crate::error::OpsError;
use crate::session::Session;
use std::sync::Arc;
use vdeploy_core::actor::Actor;
use vdeploy_core::capability::World;
use vdeploy_core::ids::RunId;
use vdeploy_journal::Store;
use vdeploy_journal::lease_breaks::{self, LeaseBreak};
use vdeploy_journal::store::Holder;
use vdeploy_lease::LeaseHolder;
use vdeploy_lease::target;

/// A lease that may be broken, and the connection to its target.
#[derive(Debug)]
pub struct BreakableLease {
    pub status: LeaseStatus,
    world: Option<World>,
    store: Arc<dyn Store>,
    actor: Actor,
}

/// What breaking a lease has come to.
#[derive(Debug, Default)]
pub struct BrokenLease {
    /// Whose lease was asked for in the store, and whether it was still there.
    pub in_store: Option<(RunId, bool)>,
    /// The same on the target.
    pub on_target: Option<(RunId, bool)>,
    /// Why the lease on the target itself was not broken.
    pub not_on_target: Option<String>,
}

impl Session {
    /// Reads who holds the target, and keeps the connection for
    /// [`BreakableLease::break_for`].
    ///
    /// # Errors
    /// The target is not in the project, or the store cannot be read.
    pub async fn breakable_lease(&self, target: Option<&str>) -> Result<BreakableLease, OpsError> {
        let store = self.store()?;
        let (status, world) = status::read(self, target, store.clone()).await?;
        Ok(BreakableLease {
            status,
            world,
            store,
            actor: self.options().actor.clone(),
        })
    }
}

impl BreakableLease {
    /// Whether anybody is known to hold the target.
    pub fn is_held(&self) -> bool {
        self.status.stored.is_some() || matches!(self.status.there, OnTargetStatus::Held(_))
    }

    /// Breaks the leases that were read: the run that has them makes no further
    /// change. `reason` is recorded, and that run is told.
    ///
    /// # Errors
    /// What the store says. A target that cannot be asked is no error.
    pub async fn break_for(&self, reason: &str) -> Result<BrokenLease, OpsError> {
        let mut broken = BrokenLease::default();
        let by = &self.actor.name;
        let status = &self.status;
        // The store first: it stops the run at its next journal write, at once.
        if let Some(Holder { run, .. }) = &status.stored {
            let done = self.store.break_lease(&status.target, run, by, reason)?;
            broken.in_store = Some((run.clone(), done.is_some()));
        }
        match (&self.world, &status.there) {
            (Some(world), OnTargetStatus::Held(holder)) => {
                let word = format!("{by} ({reason})");
                let (ssh, within) = (&*world.ssh, target::ANSWER_WITHIN);
                let asked = target::break_held(ssh, &holder.run, &word, within);
                match asked.await {
                    Ok(done) => {
                        broken.on_target = Some((holder.run.clone(), done.is_ok()));
                        self.record(holder, reason)?;
                    }
                    Err(error) => broken.not_on_target = Some(error.to_string()),
                }
            }
            (_, OnTargetStatus::Unknown(why)) => broken.not_on_target = Some(why.clone()),
            _ => {}
        }
        Ok(broken)
    }

    /// A lease that only the target knew of is recorded here, too.
    fn record(&self, holder: &LeaseHolder, reason: &str) -> Result<(), OpsError> {
        let same = |stored: &Holder| stored.run == holder.run;
        if self.status.stored.as_ref().is_some_and(same) {
            return Ok(());
        }
        let broken = LeaseBreak {
            run: holder.run.clone(),
            who: holder.who.name.clone(),
            by: self.actor.name.clone(),
            reason: reason.to_owned(),
            at: self.status.now,
            token: 0,
        };
        Ok(lease_breaks::record(
            &*self.store,
            &self.status.target,
            &broken,
        )?)
    }

    /// Ends the connection.
    pub async fn close(self) {
        if let Some(world) = self.world {
            world.ssh.close().await;
        }
    }
}
