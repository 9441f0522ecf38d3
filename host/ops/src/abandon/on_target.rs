//! What an abandoned run left on the target: its lease is given back, and its
//! commands that still run are ended. A target that cannot be asked stops
//! nothing: its next run does the same.

use crate::options::{Notice, SessionOptions};
use crate::session::Session;
use crate::target::connect::connect;
use std::sync::Arc;
use vdeploy_core::capability::World;
use vdeploy_core::capability::ssh::JobId;
use vdeploy_core::ids::RunId;
use vdeploy_journal::Store;
use vdeploy_journal::store::RunRecord;
use vdeploy_lease::renew::Absence;
use vdeploy_lease::target::{self, Claim};
use vdeploy_lease::{LeaseHolder, TargetLease, orphans};

/// What came of it on the target.
#[derive(Debug)]
pub enum LeftThere {
    /// These commands had no end yet and were ended; the lease is free.
    Ended(Vec<JobId>),
    /// Another run is running, so nothing was done.
    Held(LeaseHolder),
    /// The target could not be asked, for this reason.
    Unknown(String),
}

pub(super) async fn settle(
    session: &Session,
    store: &Arc<dyn Store>,
    record: &RunRecord,
    reason: &str,
) -> LeftThere {
    let name = record.target.as_str();
    let settled = match connect(session, Some(name), store.clone()).await {
        Ok(world) => {
            let settled = there(&world, &record.id, session.options(), reason).await;
            world.ssh.close().await;
            settled
        }
        Err(error) => Err(error.message),
    };
    settled.unwrap_or_else(LeftThere::Unknown)
}

/// Takes the lease from the run, and then for a moment, as any next run would.
async fn there(
    world: &World,
    run: &RunId,
    options: &SessionOptions,
    reason: &str,
) -> Result<LeftThere, String> {
    let by = &options.actor.name;
    let word = format!("{by} (abandoned: {reason})");
    let ttl = options.lease_times.on_target;
    let broken = target::break_held(&*world.ssh, run, &word, ttl).await;
    if let Err(Some(holder)) = broken.map_err(|error| error.to_string())? {
        return Ok(LeftThere::Held(holder));
    }
    let claim = Claim {
        ssh: world.ssh.clone(),
        target: world.target.clone(),
        run: RunId::generate(),
        who: options.actor.clone(),
        ttl,
        absence: Absence::Loses,
    };
    let taken = TargetLease::acquire(claim).await;
    let lease = match taken.map_err(|error| error.to_string())? {
        Ok(lease) => lease,
        Err(holder) => return Ok(LeftThere::Held(holder)),
    };
    let ended = ended(&lease, world, run, options).await;
    if let Err(error) = lease.release().await {
        tracing::warn!(%error, "the lease on the target ends by itself");
    }
    ended.map(LeftThere::Ended)
}

async fn ended(
    lease: &TargetLease,
    world: &World,
    run: &RunId,
    options: &SessionOptions,
) -> Result<Vec<JobId>, String> {
    let doing = |text| (options.on_notice)(Notice::Doing(text));
    let mut ended = orphans::end(lease, &*world.ssh, doing).await?;
    // It may have given its lease back and left a command all the same.
    if !lease.orphaned_runs().contains(run) {
        let jobs = world.ssh.end_jobs_of(run).await;
        ended.extend(jobs.map_err(|error| error.to_string())?);
    }
    Ok(ended)
}
