//! Continues an interrupted run. What has happened is read from its journal and
//! not done again.

use super::Resume;
use super::interrupted;
use super::rollback::{self, RolledBack};
use crate::error::{OpsError, OpsErrorKind};
use crate::prepare::{self, Prepared, compat};
use crate::session::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::clock::{Clock as _, SystemClock};
use vdeploy_core::capability::ssh::Ssh;
use vdeploy_core::event::RunEvent;
use vdeploy_core::ids::{Digest, PluginName, RunId, StepId};
use vdeploy_gate::CallOutcome;
use vdeploy_journal::store::RunRecord;
use vdeploy_journal::{RunView, Store, StoreError, relocations};
use vdeploy_lease::LeaseHolder;
use vdeploy_lease::process::Process;
use vdeploy_run::resume_state::{ResumeState, no_live_version};

/// What the clocks of two machines may differ, and a call may take.
const MARGIN: Duration = Duration::from_secs(5);

/// The run that is resumed.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// As it was recorded.
    pub record: RunRecord,
    /// How far it is.
    pub resume_state: ResumeState,
    /// Entries of the journal that say so.
    pub entries: usize,
    /// Numbers of the calls that have an intent.
    pub intents: BTreeSet<u64>,
    /// The run that it rolls back.
    pub rolls_back: Option<RolledBack>,
}

impl Resume {
    pub(crate) async fn prepare(self, session: &Session) -> Result<Prepared, OpsError> {
        let store = session.store()?;
        let named = self.run.as_deref();
        let target = match named {
            Some(run) => store.run(run)?.target,
            None => session.target(self.target.as_deref())?.0,
        };
        let record = interrupted::find(&*store, named, &target, "resume")?;
        if self.wait.is_zero() {
            not_running(&*store, &record)?;
        }
        compat::has_what_it_needs(session.project(), &record, true)?;
        let journal = store.journal(&record.id)?;
        let rolls_back = match &record.rolls_back {
            Some(run) => Some(RolledBack {
                run: store.run(run.as_str())?,
                outputs: rollback::outputs(&*store, run)?,
                again: true,
            }),
            None => None,
        };
        let resumed = Resumed {
            resume_state: ResumeState::of(&record, &journal),
            entries: journal.len(),
            intents: RunView::of(&journal).changes().collect(),
            rolls_back,
            record,
        };
        // The lease of the interrupted process expires by itself.
        let wait = self
            .wait
            .max(session.options().lease_times.in_store + MARGIN);
        prepare::resumed(session, resumed, wait).await
    }
}

/// Refuses at once while the run's own process is alive on this machine.
fn not_running(store: &dyn Store, record: &RunRecord) -> Result<(), OpsError> {
    let holder = store.lease_holder(&record.target)?;
    let Some(holder) = holder.filter(|holder| holder.run == record.id) else {
        return Ok(());
    };
    let holding = LeaseHolder::in_store(&holder, SystemClock.now_unix_ms());
    let Process::Runs(pid) = holding.process() else {
        return Ok(());
    };
    let run = &record.id;
    Err(OpsError::new(
        OpsErrorKind::Held,
        format!(
            "run {run} is not interrupted, it is running: its process {pid} runs on this machine; \
             nothing was begun"
        ),
    )
    .hint(format!(
        "`vdeploy runs show {run}` says how far it is. To wait until it has ended add `--wait \
         SECONDS`; to end it `kill -INT {pid}`: it stops after the current call, and goes back \
         where its plan says so"
    )))
}

impl Resumed {
    /// What a person and a program are told at the beginning.
    pub fn event(&self) -> RunEvent {
        let recorded = &self.resume_state.gate.recorded;
        let in_doubt = |outcome: &CallOutcome| matches!(outcome, CallOutcome::InDoubt(_));
        let doubtful = recorded
            .calls()
            .filter(|(_, call)| in_doubt(&call.outcome))
            .count();
        let finished: Vec<StepId> = self
            .record
            .plan
            .all_steps()
            .map(|step| step.id.clone())
            .filter(|step| self.resume_state.outputs.contains_key(step))
            .collect();
        RunEvent::RunResumed {
            run: self.record.id.clone(),
            finished,
            step: self
                .resume_state
                .in_flight
                .as_ref()
                .map(|in_flight| in_flight.step.clone()),
            recorded: recorded.len().saturating_sub(doubtful),
            in_doubt: doubtful,
            target_changed: self.resume_state.gate.target_changed,
            snapshot: self.resume_state.gate.snapshots.first.clone(),
            operator_requested: self.record.rolls_back.is_some(),
            no_live_version: no_live_version(&self.resume_state.outputs),
            moved_from: self
                .resume_state
                .relocations
                .first()
                .map(|(from, _)| from.clone()),
        }
    }

    /// The recorded results fit these plugins' bytes only.
    pub fn check_plugins(&self, now: &BTreeMap<PluginName, Digest>) -> Result<(), OpsError> {
        let changed: Vec<&PluginName> = now
            .iter()
            .filter(|(name, digest)| self.record.plugins.get(*name) != Some(*digest))
            .map(|(name, _)| name)
            .collect();
        let names: Vec<&str> = changed.iter().map(|name| name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let run = &self.record.id;
        let digests: Vec<String> = changed
            .iter()
            .filter_map(|name| Some(format!("{name} sha256 {}", self.record.plugins.get(*name)?)))
            .collect();
        let version = match self.record.host_version.as_str() {
            env!("CARGO_PKG_VERSION") => String::new(),
            other => format!(", with vdeploy {other}"),
        };
        Err(OpsError::new(
            OpsErrorKind::PluginRefused,
            format!(
                "the bytes of these plugins are not those that run {run} began with: {}; what they \
                 recorded may not fit, so the run is not resumed",
                names.join(", ")
            ),
        )
        .hint(format!(
            "either bring those bytes back and resume (it began with {}{version}), or go back: \
             `vdeploy rollback {run}`",
            digests.join(", ")
        )))
    }

    /// The target must be where the run left it.
    pub fn check_vm(&self, now: Option<&str>) -> Result<(), OpsError> {
        let then = self.resume_state.vm.as_ref().map(|vm| vm.as_str());
        if now == then {
            return Ok(());
        }
        let shown = |vm: Option<&str>| vm.map_or("no VM".to_owned(), |vm| format!("VM {vm}"));
        let run = &self.record.id;
        Err(OpsError::new(
            OpsErrorKind::Refused,
            format!(
                "run {run} was on {}, and the target `{}` is {} now: it is not resumed there",
                shown(then),
                self.record.target,
                shown(now)
            ),
        )
        .hint(format!(
            "put the target back as it was, or leave the run: `vdeploy abandon {run} --reason \
             \"the target is another VM\"`"
        )))
    }

    /// Why the run cannot be resumed where the target knows more of it than
    /// the journal: no job is begun before its intent is on the disk, so the end
    /// of the journal was lost, and with it what the next calls depend on.
    pub async fn lost_end(&self, ssh: &dyn Ssh) -> Result<Option<String>, EffectError> {
        let run = &self.record.id;
        let mut jobs = ssh.jobs_of(run).await?;
        jobs.retain(|job| !self.intents.contains(job));
        jobs.sort_unstable();
        if jobs.is_empty() {
            return Ok(None);
        }
        let calls: Vec<String> = jobs.iter().map(u64::to_string).collect();
        Ok(Some(format!(
            "run {run} cannot be resumed: the end of its journal is lost. The target \
             `{target}` has begun commands of it that are not in the journal (call {calls}); was \
             the state directory copied back, or has its disk not kept what was written? Nothing \
             was touched now. Go back to what was live before it, or leave the target as it is:\n  \
             vdeploy rollback {run}\n  vdeploy abandon {run} --reason \"REASON\"",
            target = self.record.target,
            calls = calls.join(", "),
        )))
    }

    /// Why the run cannot be resumed where `by` has changed the target
    /// last: a run that began later has not left it as this one knows it. Ids
    /// of runs are in the order of their beginnings.
    pub fn overtaken(&self, by: &RunId) -> Option<String> {
        let run = &self.record.id;
        (by > run).then(|| {
            format!(
                "run {run} cannot be resumed: run {by}, which began later, has changed the \
                 target `{target}` since, so what this run knows of it is not true any more. \
                 Nothing was touched now. See what is live, and leave the target as it is, or go \
                 back to what was live before this run:\n  vdeploy abandon {run} --reason \
                 \"REASON\"\n  vdeploy rollback {run}",
                target = self.record.target,
            )
        })
    }

    /// Whether another process of the run has resumed it since.
    pub fn is_outdated(&self, store: &dyn Store) -> Result<bool, StoreError> {
        Ok(store.journal(&self.record.id)?.len() != self.entries)
    }

    /// Where the target went is a fact, also when the process ended before it
    /// could store it.
    pub fn record_relocations(&self, store: &dyn Store) -> Result<(), StoreError> {
        for (from, to) in &self.resume_state.relocations {
            relocations::record(store, &self.record.target, from, to)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdeploy_core::plan::Plan;
    use vdeploy_journal::SqliteStore;
    use vdeploy_lease::process::doubles::{elsewhere, with_pid};

    #[test]
    fn a_run_that_is_running_here_is_not_resumed() {
        let plan = Plan::bare("default");
        let record = RunRecord::bare("01A", "infra", plan);
        for (run, who, refused) in [
            ("01A", with_pid(std::process::id()), true),
            ("01B", with_pid(std::process::id()), false),
            ("01A", elsewhere(1), false),
        ] {
            let store = SqliteStore::in_memory().unwrap();
            not_running(&store, &record).unwrap();
            let ttl = Duration::from_secs(15);
            let taken = store.acquire_lease(&record.target, &run.into(), &who, ttl);
            taken.unwrap().unwrap();
            let asked = not_running(&store, &record);
            assert_eq!(asked.is_err(), refused, "{run} {who}");
            if let Err(error) = asked {
                assert_eq!(error.kind, OpsErrorKind::Held);
                let pid = std::process::id();
                let text = error.to_string();
                for said in [
                    format!("its process {pid} runs"),
                    format!("kill -INT {pid}"),
                ] {
                    assert!(text.contains(&said), "{text}");
                }
            }
        }
    }
}
