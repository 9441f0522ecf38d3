//! What an abandoned run left on the target: its lease is given back, and its
//! commands that still run are ended. A target that cannot be asked stops
//! nothing: its next run does the same.

use crate::capability::World;
use crate::capability::ssh::JobId;
use crate::cli::hold::Holding;
use crate::cli::session::Session;
use crate::cli::{left, terminal, visit};
use crate::ids::RunId;
use crate::journal::Store;
use crate::journal::store::RunRecord;
use crate::run::target_lease::{self, Absence, Claim, TargetHolder, TargetLease};
use std::sync::Arc;

/// Does it, and says what came of it.
pub(super) async fn settle(
    session: &Session,
    store: &Arc<dyn Store>,
    record: &RunRecord,
    by: &str,
    reason: &str,
) -> String {
    let target = &record.target;
    let reached = visit::reach(session, Some(target.as_str()), store.clone()).await;
    let settled = match reached {
        Ok(world) => {
            let settled = there(&world, &record.id, by, reason).await;
            world.ssh.close().await;
            settled
        }
        Err(error) => Err(error.message),
    };
    match settled {
        Ok(Settled::Ended(jobs)) if jobs.is_empty() => format!(
            "on the target `{target}` no command of it runs and it holds no lease; what it changed \
             there stays as it is"
        ),
        Ok(Settled::Ended(jobs)) => {
            let jobs: Vec<String> = jobs.iter().map(job).collect();
            format!(
                "on the target `{target}` it holds no lease, and these commands, which had no end \
                 yet, were ended:\n{}\nwhat it changed there stays as it is",
                jobs.join("\n")
            )
        }
        Ok(Settled::Held(holder)) => format!(
            "{}; nothing was done there",
            Holding::on_target(&holder).sentence(target)
        ),
        Err(why) => format!(
            "what the run left on the target `{target}` could not be settled: {why}\nits lease there \
             ends by itself, and a command of it that still runs is ended before the next change"
        ),
    }
}

fn job(job: &JobId) -> String {
    format!("  job {job}, what it printed is in ~/.vdeploy/jobs/{job}.out and .err")
}

enum Settled {
    /// These had no end yet.
    Ended(Vec<JobId>),
    /// Another run is at work.
    Held(TargetHolder),
}

/// Takes the lease from the run, and then for a moment, as any next run would.
async fn there(world: &World, run: &RunId, by: &str, reason: &str) -> Result<Settled, String> {
    let word = format!("{by} (abandoned: {reason})");
    let ttl = target_lease::TTL;
    let broken = target_lease::break_held(&*world.ssh, run, &word, ttl).await;
    if let Err(Some(holder)) = broken.map_err(|error| error.to_string())? {
        return Ok(Settled::Held(holder));
    }
    let claim = Claim {
        ssh: world.ssh.clone(),
        target: world.target.clone(),
        run: RunId::generate(),
        who: by.to_owned(),
        ttl,
        absence: Absence::Loses,
    };
    let taken = TargetLease::take(claim).await;
    let lease = match taken.map_err(|error| error.to_string())? {
        Ok(lease) => lease,
        Err(holder) => return Ok(Settled::Held(holder)),
    };
    let ended = ended(&lease, world, run).await;
    if let Err(error) = lease.release().await {
        tracing::warn!(%error, "the lease on the target ends by itself");
    }
    ended.map(Settled::Ended)
}

async fn ended(lease: &TargetLease, world: &World, run: &RunId) -> Result<Vec<JobId>, String> {
    let mut ended = left::end(lease, &*world.ssh, |text| terminal::error_line(&text)).await?;
    // It may have given its lease back and left a command all the same.
    if !lease.left().contains(run) {
        let jobs = world.ssh.end_jobs_of(run).await;
        ended.extend(jobs.map_err(|error| error.to_string())?);
    }
    Ok(ended)
}
