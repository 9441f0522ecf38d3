//! Reclaims leases of dead processes, so that resume and abandon need not wait
//! for expiry.

use crate::holder::LeaseHolder;
use vdeploy_core::capability::clock::{Clock as _, SystemClock};
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_journal::store::Holder;
use vdeploy_journal::{Store, StoreError};

/// How far a run came whose process is gone.
#[derive(Debug)]
pub enum DeadRun {
    /// It had begun a change: nothing else begins before that is settled.
    Settle {
        /// The ways and what they do.
        text: String,
        /// The commands.
        ways: [String; 3],
    },
    /// It had begun none; the command that resumes it.
    Early(String),
}

impl DeadRun {
    /// The commands.
    pub fn ways(self) -> Vec<String> {
        match self {
            Self::Settle { ways, .. } => ways.into(),
            Self::Early(resume) => vec![resume],
        }
    }
}

/// Breaks the lease of `holder` in the store, if it is that of `run` and its
/// process was one of this machine and is none any more. Whether it did: then
/// the lease can be asked for again, and if somebody has taken it meanwhile, the
/// answer tells.
pub fn break_in_store(
    store: &dyn Store,
    target: &TargetName,
    holder: &Holder,
    run: &RunId,
    (by, why): (&str, &str),
) -> Result<bool, StoreError> {
    let held = LeaseHolder::in_store(holder, SystemClock.now_unix_ms());
    if holder.run != *run || !held.is_gone() {
        return Ok(false);
    }
    store.break_lease(target, run, by, why)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::doubles::{dead_pid, elsewhere, with_pid};
    use std::time::Duration;
    use vdeploy_journal::SqliteStore;

    #[test]
    fn only_the_runs_own_lease_is_broken_and_only_when_its_process_is_gone() {
        let (gone, here) = (with_pid(dead_pid()), with_pid(std::process::id()));
        let elsewhere = elsewhere(dead_pid());
        let target = TargetName::from("infra");
        for (held_by, who, broken) in [
            ("01A", &gone, true),
            ("01B", &gone, false),
            ("01A", &here, false),
            ("01A", &elsewhere, false),
        ] {
            let store = SqliteStore::in_memory().unwrap();
            let ttl = Duration::from_secs(60);
            let taken = store.acquire_lease(&target, &held_by.into(), who, ttl);
            let holder = taken.unwrap().unwrap().holder;
            let run = RunId::from("01A");
            let word = ("me", "its process is gone");
            let done = break_in_store(&store, &target, &holder, &run, word).unwrap();
            assert_eq!(done, broken, "{held_by} {who}");
            let free = store.lease_holder(&target).unwrap().is_none();
            assert_eq!(free, broken, "{held_by} {who}");
        }
    }
}
