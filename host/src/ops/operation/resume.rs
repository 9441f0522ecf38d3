//! `vdeploy resume`: go on with a run that was cut off. What has happened is
//! read from its journal and not done again.

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::hold::{Holding, Process};
use super::run::OutputArgs;
use super::session::Session;
use super::start::{self, Request, RollsBack};
use super::wait::WaitArgs;
use super::{fits, rollback, unfinished};
use crate::capability::EffectError;
use crate::capability::clock::{Clock as _, SystemClock};
use crate::capability::ssh::Ssh;
use crate::event::RunEvent;
use crate::gate::Came;
use crate::ids::{Digest, PluginName, RunId, StepId};
use crate::journal::store::{RunRecord, Stored};
use crate::journal::{Entry, Store, StoreError, moves};
use crate::run::earlier::{SoFar, nothing_left, so_far};
use crate::run::lease::DEFAULT_TTL;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the clocks of two machines may differ, and a call may take.
const MARGIN: Duration = Duration::from_secs(5);

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy resume             go on with the run that was cut off on the only target
  vdeploy resume 01M856KE    go on with this one";

/// Arguments of `vdeploy resume`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ResumeArgs {
    /// The run: an id or its beginning [default: the target's run that was cut
    /// off]
    pub run: Option<String>,
    /// The target, where no run is named
    #[arg(long, short)]
    pub target: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A run that is gone on with.
#[derive(Debug)]
pub struct Resumed {
    /// As it was recorded.
    pub record: RunRecord,
    /// How far it is.
    pub so_far: SoFar,
    /// Entries of the journal that say so.
    pub entries: usize,
    /// Numbers of the calls that have an intent.
    pub intents: BTreeSet<u64>,
}

/// Goes on with the run.
pub async fn main(global: &Global, args: ResumeArgs) -> Result<ExitCode, CliError> {
    let session = Session::open(global)?;
    let store = session.store()?;
    let named = args.run.as_deref();
    let target = match named {
        Some(run) => store.run(run)?.target,
        None => start::target(&session.project, args.target.as_deref())?.0,
    };
    let record = unfinished::find(&*store, named, &target, "resume")?;
    if args.wait.wait == 0 {
        at_work(&*store, &record)?;
    }
    fits::has_what_it_needs(&session.project, &record, true)?;
    let journal = store.journal(&record.id)?;
    let so_far = so_far(&record, &journal);
    let mut plan = record.plan.clone();
    plan.steps
        .retain(|step| !so_far.left_out.contains(&step.id));
    let rolls_back = match &record.rolls_back {
        Some(run) => Some(RollsBack {
            run: store.run(run.as_str())?,
            outputs: rollback::outputs(&*store, run)?,
            again: true,
        }),
        None => None,
    };
    start::start(
        session,
        Request {
            plan,
            target: Some(record.target.to_string()),
            reference: None,
            set: Vec::new(),
            dry_run: false,
            without_snapshot: None,
            rolls_back,
            resumes: Some(Resumed {
                record,
                so_far,
                entries: journal.len(),
                intents: intents(&journal),
            }),
            // The lease of the process that was cut off runs out by itself.
            wait: args.wait.at_least(DEFAULT_TTL + MARGIN),
            output: args.output,
            verbose: global.verbose,
        },
    )
    .await
}

/// Refuses at once while the run's own process is alive on this machine.
fn at_work(store: &dyn Store, record: &RunRecord) -> Result<(), CliError> {
    let holder = store.lease_holder(&record.target)?;
    let Some(holder) = holder.filter(|holder| holder.run == record.id) else {
        return Ok(());
    };
    let holding = Holding::in_store(&holder, SystemClock.now_unix_ms());
    let Process::Runs(pid) = holding.process() else {
        return Ok(());
    };
    let run = &record.id;
    Err(CliError::new(
        ExitCode::Held,
        format!(
            "run {run} was not cut off, it is at work: its process {pid} runs on this machine; \
             nothing was begun"
        ),
    )
    .hint(format!(
        "`vdeploy runs show {run}` says how far it is. To wait until it has ended add `--wait \
         SECONDS`; to end it `kill -INT {pid}`: it stops after the current call, and goes back \
         where its plan says so"
    )))
}

fn intents(journal: &[Stored]) -> BTreeSet<u64> {
    let entries = journal.iter().map(|stored| &stored.entry);
    entries
        .filter_map(|entry| match entry {
            Entry::Intent { call, .. } => Some(*call),
            _ => None,
        })
        .collect()
}

impl Resumed {
    /// What a person and a program are told at the beginning.
    pub fn event(&self) -> RunEvent {
        let tape = &self.so_far.gate.tape;
        let in_doubt = |came: &Came| matches!(came, Came::InDoubt(_));
        let doubtful = tape
            .calls()
            .filter(|(_, call)| in_doubt(&call.came))
            .count();
        let finished: Vec<StepId> = self
            .record
            .plan
            .all_steps()
            .map(|step| step.id.clone())
            .filter(|step| self.so_far.outputs.contains_key(step))
            .collect();
        RunEvent::RunResumed {
            run: self.record.id.clone(),
            finished,
            step: self.so_far.open.as_ref().map(|open| open.step.clone()),
            recorded: tape.len().saturating_sub(doubtful),
            in_doubt: doubtful,
            target_changed: self.so_far.gate.target_changed,
            snapshot: self.so_far.gate.snapshots.first.clone(),
            asked_back: self.record.rolls_back.is_some(),
            nothing_left: nothing_left(&self.so_far.outputs),
            moved_from: self.so_far.moves.first().map(|(from, _)| from.clone()),
        }
    }

    /// The recorded results fit these plugins' bytes only.
    pub fn check_plugins(&self, now: &BTreeMap<PluginName, Digest>) -> Result<(), CliError> {
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
        Err(CliError::new(
            ExitCode::PluginRefused,
            format!(
                "the bytes of these plugins are not those that run {run} began with: {}; what they \
                 recorded may not fit, so the run is not gone on with",
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
    pub fn check_vm(&self, now: Option<&str>) -> Result<(), CliError> {
        let then = self.so_far.vm.as_ref().map(|vm| vm.as_str());
        if now == then {
            return Ok(());
        }
        let shown = |vm: Option<&str>| vm.map_or("no VM".to_owned(), |vm| format!("VM {vm}"));
        let run = &self.record.id;
        Err(CliError::new(
            ExitCode::Refused,
            format!(
                "run {run} was on {}, and the target `{}` is {} now: it is not gone on with there",
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

    /// Why the run cannot be gone on with where the target knows more of it than
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
            "run {run} cannot be gone on with: the end of its journal is lost. The target \
             `{target}` has begun commands of it that are not in the journal (call {calls}); was \
             the state directory copied back, or has its disk not kept what was written? Nothing \
             was touched now. Go back to what was live before it, or leave the target as it is:\n  \
             vdeploy rollback {run}\n  vdeploy abandon {run} --reason \"REASON\"",
            target = self.record.target,
            calls = calls.join(", "),
        )))
    }

    /// Why the run cannot be gone on with where `by` has changed the target
    /// last: a run that began later has not left it as this one knows it. Ids
    /// of runs are in the order of their beginnings.
    pub fn overtaken(&self, by: &RunId) -> Option<String> {
        let run = &self.record.id;
        (by > run).then(|| {
            format!(
                "run {run} cannot be gone on with: run {by}, which began later, has changed the \
                 target `{target}` since, so what this run knows of it is not true any more. \
                 Nothing was touched now. See what is live, and leave the target as it is, or go \
                 back to what was live before this run:\n  vdeploy abandon {run} --reason \
                 \"REASON\"\n  vdeploy rollback {run}",
                target = self.record.target,
            )
        })
    }

    /// Whether another process of the run has gone on with it since.
    pub fn is_outdated(&self, store: &dyn Store) -> Result<bool, StoreError> {
        Ok(store.journal(&self.record.id)?.len() != self.entries)
    }

    /// Where the target went is a fact, also when the process ended before it
    /// could store it.
    pub fn remember_moves(&self, store: &dyn Store) -> Result<(), StoreError> {
        for (from, to) in &self.so_far.moves {
            moves::remember(store, &self.record.target, from, to)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hold::held_by;
    use crate::journal::SqliteStore;
    use crate::plan::Plan;

    #[test]
    fn a_run_that_is_at_work_here_is_not_gone_on_with() {
        let plan = Plan::bare("default");
        let record = RunRecord::bare("01A", "infra", plan);
        for (run, who, refused) in [
            ("01A", held_by(), true),
            ("01B", held_by(), false),
            ("01A", "me@another-machine pid 1".to_owned(), false),
        ] {
            let store = SqliteStore::in_memory().unwrap();
            at_work(&store, &record).unwrap();
            let taken = store.acquire_lease(&record.target, &run.into(), &who, DEFAULT_TTL);
            taken.unwrap().unwrap();
            let asked = at_work(&store, &record);
            assert_eq!(asked.is_err(), refused, "{run} {who}");
            if let Err(error) = asked {
                assert_eq!(error.exit, ExitCode::Held);
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
