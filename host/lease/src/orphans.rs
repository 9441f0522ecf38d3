//! Terminates jobs that fenced runs left on the target. The next holder calls
//! this before its first change.

use crate::target::TargetLease;
use vdeploy_core::capability::ssh::{JobId, Ssh};

/// Ends it; the commands that were told to end. `doing` hears what is being
/// done. The error says what does not end: nothing may begin beside it.
pub async fn end(
    lease: &TargetLease,
    ssh: &dyn Ssh,
    doing: impl Fn(String),
) -> Result<Vec<JobId>, String> {
    let mut ended = Vec::new();
    let orphaned = lease.orphaned_runs();
    for run in &orphaned {
        doing(format!(
            "ending what run {run}, which has lost its lease, left on the target"
        ));
        let jobs = ssh.end_jobs_of(run).await;
        ended.extend(jobs.map_err(|error| error.to_string())?);
    }
    if let Err(error) = lease.forget_orphans().await {
        tracing::warn!(%error, "the next run will look again for what was left on the target");
    }
    Ok(ended)
}
