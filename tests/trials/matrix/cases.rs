//! The matrix of one deploy: each write of the journal, before and after it.

use crate::matrix::process::Run;
use crate::matrix::record::{Recorded, Scenario};
use crate::matrix::script::shown;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use vdeploy::ExitCode;
use vdeploy_core::event::Outcome;
use vdeploy_journal::doubles::FailsAfter;
use vdeploy_journal::store::Stored;
use vdeploy_journal::{Entry, RunView, relocations};
use vdeploy_ops::Session;
use vdeploy_run::Finished;

/// Where a process is killed.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// After so many writes of its own.
    writes: usize,
    /// The next one still gets into the journal.
    late: bool,
}

/// Where the process is killed that goes on: at its first write, which says
/// that it goes on, or at one of those after it.
const SECONDS: [Cut; 3] = [
    Cut {
        writes: 0,
        late: true,
    },
    Cut {
        writes: 1,
        late: false,
    },
    Cut {
        writes: 1,
        late: true,
    },
];

/// How often a run is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kills {
    /// Once everywhere, and a second time at every [`SAMPLE`]th place.
    Once,
    /// A second time everywhere.
    Twice,
}

/// Odd, so that the second kills come both before and after a write.
const SAMPLE: usize = 17;

impl Kills {
    fn once(self) -> bool {
        self == Self::Once
    }

    fn again_at(self, place: usize) -> bool {
        self == Self::Twice || place.is_multiple_of(SAMPLE)
    }
}

/// A recorded run, and where it is made again.
pub struct Matrix {
    deploy: Scenario,
    recorded: Recorded,
    session: Session,
}

/// The same run in the world of its recording, without a crash.
struct Whole {
    outcome: Outcome,
    writes: usize,
    outputs: BTreeMap<String, Value>,
    course: Vec<String>,
}

impl Matrix {
    /// The session must be that of the recorded run's project.
    pub fn new(deploy: Scenario, recorded: Recorded, session: Session) -> Self {
        Self {
            deploy,
            recorded,
            session,
        }
    }

    /// Kills it everywhere.
    pub fn run(&self, kills: Kills) -> Result<()> {
        let began = std::time::Instant::now();
        let whole = self.whole().context("without a crash")?;
        let places =
            (0..whole.writes).flat_map(|writes| [false, true].map(|late| Cut { writes, late }));
        let cases: Vec<Vec<Cut>> = places
            .enumerate()
            .flat_map(|(place, first)| {
                let seconds = SECONDS.into_iter().filter(move |_| kills.again_at(place));
                let seconds = seconds.map(Some).chain(kills.once().then_some(None));
                seconds.map(move |second| [Some(first), second].into_iter().flatten().collect())
            })
            .collect();
        let (mut failed, mut killed) = (Vec::new(), 0);
        let runtime = runtime()?;
        for cuts in &cases {
            match runtime.block_on(self.case(&whole, cuts)) {
                Ok(kills) => killed += kills,
                Err(error) => failed.push(format!("killed at {cuts:?}: {error:#}")),
            }
        }
        eprintln!(
            "{}: {} writes of the journal, {} cases, {killed} kills, {} changes of the VM, {} of \
             its records, {:.1} s",
            self.deploy.name,
            whole.writes,
            cases.len(),
            self.recorded.script.changes.len(),
            self.recorded.script.posts.len(),
            began.elapsed().as_secs_f64(),
        );
        ensure!(
            failed.is_empty(),
            "{} of {} cases failed; the first:\n{}",
            failed.len(),
            cases.len(),
            failed
                .iter()
                .take(3)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n\n"),
        );
        ensure!(
            killed >= cases.len(),
            "{killed} kills in {} cases",
            cases.len()
        );
        Ok(())
    }

    /// Without a crash it is the recorded run again.
    fn whole(&self) -> Result<Whole> {
        let run = Run::new(&self.recorded, &self.session)?;
        let journal = Arc::new(FailsAfter::over(run.store.clone(), usize::MAX, false));
        let finished = runtime()?.block_on(run.process(&journal, false))?;
        let finished = finished.context("it was killed")?;
        run.is_as_recorded()?;
        let whole = Whole {
            outcome: finished.outcome,
            writes: journal.written(),
            outputs: self.outputs(&run.journal()?),
            course: course(&run.journal()?),
        };
        self.told(&finished, finished.outcome)?;
        self.done_once(&run, 0)?;
        let recorded = self.outputs(&self.recorded.recording.journal);
        ensure!(
            whole.outputs == recorded,
            "outputs: {:?}\nand of the real run: {recorded:?}",
            whole.outputs
        );
        ensure!(run.leases()?.is_empty(), "{:?}", run.leases());
        Ok(whole)
    }

    /// Kills it at these places, one process after the other, and lets the last
    /// one go on to the end. How many were killed.
    async fn case(&self, whole: &Whole, cuts: &[Cut]) -> Result<usize> {
        let run = Run::new(&self.recorded, &self.session)?;
        let endless = Cut {
            writes: usize::MAX,
            late: false,
        };
        let mut last = None;
        let mut kills = 0;
        for cut in cuts.iter().chain([&endless]) {
            let resumes = kills > 0;
            if resumes && has_ended(&run.journal()?) {
                break;
            }
            let journal = FailsAfter::over(run.store.clone(), cut.writes, cut.late);
            let journal = Arc::new(journal);
            last = run.process(&journal, resumes).await?;
            if last.is_some() {
                break;
            }
            kills += 1;
        }
        let ended = self.ended(whole, &run, last.as_ref(), kills).await;
        ended.with_context(|| story(&run))?;
        Ok(kills)
    }

    async fn ended(
        &self,
        whole: &Whole,
        run: &Run<'_>,
        last: Option<&Finished>,
        kills: usize,
    ) -> Result<()> {
        let unsent = self.done_once(run, kills)?;
        match last {
            Some(finished) => {
                self.told(finished, whole.outcome)?;
                ensure!(run.leases()?.is_empty(), "{:?}", run.leases());
            }
            None => run.leases_run_out().await?,
        }
        let journal = run.journal()?;
        let end = journal.last().map(|stored| &stored.entry);
        ensure!(
            matches!(end, Some(Entry::Finished { outcome, .. }) if *outcome == whole.outcome),
            "the journal ends with {end:?}"
        );
        one_result_for_each(&journal)?;
        let course = course(&journal);
        let differs = course
            .iter()
            .zip(&whole.course)
            .find(|(now, then)| now != then);
        ensure!(
            differs.is_none() && course.len() == whole.course.len(),
            "it went another way, with {} entries instead of {}: {differs:?}",
            course.len(),
            whole.course.len()
        );
        let unanswered = unanswered(&journal);
        ensure!(
            unsent <= unanswered.len(),
            "{unsent} requests are missing, and the steps know of {unanswered:?}"
        );
        let outputs = self.outputs(&journal);
        ensure!(outputs.len() == whole.outputs.len(), "outputs: {outputs:?}");
        for (step, output) in &outputs {
            // Such a step tells of the request that was not sent again; and where
            // one is missing, the target's later looks still have it.
            let same = whole.outputs.get(step) == Some(output);
            ensure!(
                same || unsent > 0 || unanswered.contains(step),
                "{step} returned {output}\nand without a crash {:?}",
                whole.outputs.get(step)
            );
        }
        Ok(())
    }

    /// The outcome is that of the real run, and so is the exit code.
    fn told(&self, finished: &Finished, outcome: Outcome) -> Result<()> {
        let code = ExitCode::from(finished.outcome).code();
        ensure!(
            finished.outcome == outcome && code == self.recorded.code,
            "it ended with {:?} and exit code {code}: {}",
            finished.outcome,
            finished.message
        );
        Ok(())
    }

    /// What the target counted: every change of the VM once, every request once
    /// or, when a kill came between, not at all; and so the right version is
    /// live, where the next run will look for it. How many requests are missing.
    fn done_once(&self, run: &Run<'_>, kills: usize) -> Result<usize> {
        let script = &self.recorded.script;
        let place = run.target.place();
        ensure!(place.faults.is_empty(), "{:#?}", place.faults);
        for (change, count) in script.changes.iter().zip(&place.changes) {
            let what = shown(&change.function, &change.request);
            ensure!(*count == 1, "{}: made {count} times: {what}", change.step);
        }
        for (post, count) in script.posts.iter().zip(&place.posts) {
            let what = shown(&post.function, &post.request);
            ensure!(*count <= 1, "{}: sent {count} times: {what}", post.step);
        }
        let unsent = place.posts.iter().filter(|count| **count == 0).count();
        ensure!(unsent <= kills, "{unsent} requests are missing");
        let live = match place.made {
            0 => &self.recorded.before,
            all if all == script.changes.len() => &self.recorded.after,
            made => anyhow::bail!("it stands after change {made}"),
        };
        ensure!(live == self.deploy.live, "live: {live}");
        drop(place);
        let record = &self.recorded.recording.record;
        let first = record.vm.as_deref().context("no VM")?.into();
        let vm = relocations::current_vm(&*run.store, &record.target, &first)?;
        ensure!(
            vm.as_str() == self.recorded.vm,
            "the target is taken to be {vm}"
        );
        Ok(unsent)
    }

    /// What each step returned.
    fn outputs(&self, journal: &[Stored]) -> BTreeMap<String, Value> {
        let script = &self.recorded.script;
        let finished = journal.iter().filter_map(|stored| match &stored.entry {
            Entry::StepFinished {
                step,
                output: Some(output),
                ..
            } => Some((step.to_string(), script.timeless(output))),
            _ => None,
        });
        finished.collect()
    }
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Whether its last word is in the journal, so that it is not resumed.
fn has_ended(journal: &[Stored]) -> bool {
    RunView::of(journal).why_not_resumable().is_some()
}

/// The steps that were told of a request of which nobody knows whether it
/// arrived, once for each.
fn unanswered(journal: &[Stored]) -> Vec<String> {
    let steps = journal.iter().filter_map(|stored| match &stored.entry {
        Entry::Result {
            step,
            response: Err(error),
            ..
        } if error.code == "gate.unanswered" && error.maybe_applied => Some(step.to_string()),
        _ => None,
    });
    steps.collect()
}

/// What was begun and ended, in order, as if by one process. Looks and waits are
/// left out: those may be repeated.
fn course(journal: &[Stored]) -> Vec<String> {
    let entries = journal.iter().filter_map(|stored| match &stored.entry {
        Entry::StepStarted {
            step,
            section,
            phase,
            attempt,
        } => Some(format!("{section:?} {step} {phase:?} {attempt} begins")),
        Entry::StepFinished {
            step,
            section,
            phase,
            ..
        } => Some(format!("{section:?} {step} {phase:?} is done")),
        Entry::StepFailed {
            step,
            section,
            phase,
            failure,
        } => Some(format!(
            "{section:?} {step} {phase:?} failed: {}",
            failure.error.code
        )),
        Entry::Intent { step, function, .. } if function != "clock.sleep-ms" => {
            Some(format!("{step} {function}"))
        }
        Entry::SnapshotTaken { snapshot, .. } => Some(format!("snapshot {snapshot}")),
        Entry::TargetMoved { to, .. } => Some(format!("moved to {to}")),
        Entry::RollbackStarted { cause } => Some(format!("back, because of {cause:?}")),
        Entry::Finished { outcome, .. } => Some(format!("{outcome:?}")),
        _ => None,
    });
    entries.collect()
}

/// Every intent has one result, and no number is used twice.
fn one_result_for_each(journal: &[Stored]) -> Result<()> {
    let mut seen: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for stored in journal {
        match &stored.entry {
            Entry::Intent { call, .. } => seen.entry(*call).or_default().0 += 1,
            Entry::Result { call, .. } => seen.entry(*call).or_default().1 += 1,
            _ => {}
        }
    }
    for (call, (intents, results)) in seen {
        ensure!(
            intents <= 1 && results == 1,
            "call {call} has {intents} intents and {results} results"
        );
    }
    Ok(())
}

/// The end of the journal, for a person.
fn story(run: &Run<'_>) -> String {
    let journal = run.journal().unwrap_or_default();
    let lines = journal.iter().rev().take(12).rev().map(|stored| {
        let line = format!("{} {:?}", stored.seq, stored.entry);
        line.chars().take(200).collect::<String>()
    });
    format!(
        "the journal ends:\n{}",
        lines.collect::<Vec<_>>().join("\n")
    )
}
