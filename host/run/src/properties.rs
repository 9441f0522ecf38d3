//! Random plans, failures, stops and crashes over the pure parts: the machine
//! that says what is next, and the reader of the journal of a run that was cut
//! off. The little driver here writes a journal as the real one does.

use super::machine::{Action, Ended, Place, Traits, next, places};
use super::resume_state::ResumeState;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::event::{Outcome, Phase, Section, StepFailure};
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::{OnFailure, Plan, Retry, RollbackTo, Step};
use vdeploy_gate::CallOutcome;
use vdeploy_journal::Entry;
use vdeploy_journal::store::{RunRecord, Stored};

/// A run as it is decided before it begins.
#[derive(Clone, Debug)]
struct Script {
    plan: Plan,
    traits: Traits,
    /// Steps that make a change when they are called.
    changing: BTreeSet<StepId>,
    failing: BTreeSet<(StepId, &'static str, u32)>,
    /// The stop comes before this action of the first process.
    stop: Option<usize>,
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Check => "check",
        Phase::Run => "run",
        Phase::Undo => "undo",
    }
}

fn policy() -> impl Strategy<Value = OnFailure> {
    prop_oneof![3 => Just(OnFailure::Rollback), 1 => Just(OnFailure::Keep)]
}

prop_compose! {
    fn step(section: &'static str)(
        attempts in 1..3_u32,
        own in prop::option::weighted(0.2, policy()),
        undoable: bool,
        changes in prop::bool::weighted(0.7),
        fails in prop::collection::btree_set((0..3_usize, 1..3_u32), 0..3),
        fails_at_all in prop::bool::weighted(0.3),
    ) -> (Step, bool, bool, Vec<(usize, u32)>) {
        let step = Step {
            id: section.into(),
            plugin: "p".into(),
            config: Default::default(),
            timeout: Duration::from_secs(60),
            retry: Retry { attempts, delay: Duration::ZERO },
            on_failure: own,
        };
        let fails = if fails_at_all { fails.into_iter().collect() } else { Vec::new() };
        (step, undoable, changes, fails)
    }
}

prop_compose! {
    fn script()(
        steps in prop::collection::vec(step("s"), 1..6),
        rollback in prop::collection::vec(step("r"), 0..3),
        finally in prop::collection::vec(step("f"), 0..2),
        on_failure in policy(),
        to_snapshot: bool,
        stop in prop::option::weighted(0.3, 0..30_usize),
    ) -> Script {
        let mut script = Script {
            plan: Plan {
                name: "random".into(),
                summary: String::new(),
                steps: Vec::new(),
                rollback: Vec::new(),
                finally: Vec::new(),
                on_failure,
                rollback_to: if to_snapshot { RollbackTo::Snapshot } else { RollbackTo::InPlace },
            },
            traits: Traits::default(),
            changing: BTreeSet::new(),
            failing: BTreeSet::new(),
            stop,
        };
        for (list, drawn) in [(0, steps), (1, rollback), (2, finally)] {
            for (index, (mut step, undoable, changes, fails)) in drawn.into_iter().enumerate() {
                step.id = StepId::new(format!("{}{index}", step.id));
                for (phase, attempt) in fails {
                    // A check that fails ends everything: seldom enough.
                    let phase = ["run", "undo", "check"][phase];
                    if phase != "check" || attempt == 1 {
                        script.failing.insert((step.id.clone(), phase, attempt));
                    }
                }
                if changes && list < 2 {
                    script.changing.insert(step.id.clone());
                }
                if list == 0 {
                    if undoable {
                        script.traits.undoable.insert(index);
                    }
                    if changes {
                        script.traits.may_change.insert(index);
                    }
                }
                match list {
                    0 => script.plan.steps.push(step),
                    1 => script.plan.rollback.push(step),
                    _ => script.plan.finally.push(step),
                }
            }
        }
        script
    }
}

/// The process is gone.
struct Crash;

/// What outlives a process: the journal and the target.
#[derive(Default)]
struct Left {
    journal: Vec<Stored>,
    /// What was done, by number.
    done: BTreeMap<u64, (StepId, &'static str)>,
    /// How often each change was made.
    made: BTreeMap<u64, usize>,
}

struct Process<'a> {
    script: &'a Script,
    left: &'a mut Left,
    /// Moments until it is interrupted: each write has one before it and one after.
    moments: Option<usize>,
}

impl Process<'_> {
    fn moment(&mut self) -> Result<(), Crash> {
        match &mut self.moments {
            Some(0) => Err(Crash),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, entry: Entry) -> Result<(), Crash> {
        self.moment()?;
        let seq = self.left.journal.len() as u64 + 1;
        self.left.journal.push(Stored {
            seq,
            at: seq,
            entry,
        });
        self.moment()
    }

    /// Changes the target once, whoever asks again.
    fn change(&mut self, call: u64, step: &StepId, phase: Phase) {
        if self.left.done.contains_key(&call) {
            return;
        }
        self.left.done.insert(call, (step.clone(), word(phase)));
        *self.left.made.entry(call).or_default() += 1;
    }

    fn run(mut self, stop: Option<usize>) -> Result<Outcome, Crash> {
        let record = RunRecord::bare("01A", "infra", self.script.plan.clone());
        let sum = ResumeState::of(&record, &self.left.journal);
        if !self.left.journal.is_empty() {
            self.write(Entry::Resumed {
                by: String::new(),
                host_version: String::new(),
            })?;
        }
        let mut history = sum.history;
        let mut in_flight = sum.in_flight;
        let mut calls = sum.gate.calls;
        let mut changed = sum.gate.target_changed;
        let mut finishing = sum.gate.finishing;
        let mut recorded_calls: BTreeMap<u64, CallOutcome> = sum
            .gate
            .recorded
            .calls()
            .map(|(call, recorded)| (call, recorded.outcome.clone()))
            .collect();
        for turn in 0..500 {
            let stopped = stop.is_some_and(|stop| turn >= stop) && !finishing;
            history.observe(changed, stopped);
            let action = next(&self.script.plan, &self.script.traits, &history);
            let (place, phase, attempt) = match action {
                Action::Done(outcome) => {
                    self.write(Entry::Finished {
                        outcome,
                        message: String::new(),
                    })?;
                    return Ok(outcome);
                }
                Action::BeginRollback => {
                    history.rollback_begun();
                    finishing = true;
                    self.write(Entry::RollbackStarted { cause: None })?;
                    continue;
                }
                Action::Check(place) => (place, Phase::Check, 1),
                Action::Run(place, attempt) => (place, Phase::Run, attempt),
                Action::Undo(place) => (place, Phase::Undo, 1),
            };
            let step = self.step(place);
            if place.section == Section::Finally && phase == Phase::Run {
                history.finally_begun(changed);
                finishing = true;
            }
            let goes_on = in_flight
                .take()
                .is_some_and(|o| (o.place, o.phase, o.attempt) == (place, phase, attempt));
            if !goes_on {
                self.write(Entry::StepStarted {
                    step: step.clone(),
                    section: place.section,
                    phase,
                    attempt,
                })?;
            }
            if phase != Phase::Check && self.script.changing.contains(&step) {
                calls += 1;
                changed = true;
                match recorded_calls.remove(&calls) {
                    Some(CallOutcome::Result(_) | CallOutcome::Done(_)) => {}
                    Some(CallOutcome::InDoubt(_)) => {
                        self.change(calls, &step, phase);
                        self.write(result(calls, &step))?;
                    }
                    None => {
                        self.write(Entry::Intent {
                            call: calls,
                            step: step.clone(),
                            function: "ssh.exec".to_owned(),
                            request: json!(word(phase)),
                            changes_target: true,
                        })?;
                        self.change(calls, &step, phase);
                        self.write(result(calls, &step))?;
                    }
                }
            }
            let fails = (step.clone(), word(phase), attempt);
            let ok = !self.script.failing.contains(&fails);
            self.write(match ok {
                true => Entry::StepFinished {
                    step,
                    section: place.section,
                    phase,
                    output: (phase == Phase::Run).then(|| json!({})),
                },
                false => Entry::StepFailed {
                    step,
                    section: place.section,
                    phase,
                    failure: StepFailure {
                        error: EffectError::new(ErrorKind::Failed, "step.broke", "it broke"),
                        context: Vec::new(),
                    },
                },
            })?;
            match phase {
                Phase::Check => history.checked(place, ok),
                Phase::Undo => history.undone(place.index, ok),
                Phase::Run if ok => history.ran(place, attempt, Ended::Finished),
                Phase::Run => history.ran(place, attempt, Ended::Failed { retry: true }),
            }
        }
        panic!("the run does not end");
    }

    fn step(&self, place: Place) -> StepId {
        let mut steps = places(&self.script.plan, place.section);
        steps.nth(place.index).unwrap().1.id.clone()
    }
}

fn result(call: u64, step: &StepId) -> Entry {
    Entry::Result {
        call,
        step: step.clone(),
        function: "ssh.exec".to_owned(),
        request: Value::Null,
        response: Ok(Value::Null),
    }
}

/// One process after the other until one reaches the end.
fn through(script: &Script, crashes: &[usize]) -> (Outcome, Left) {
    let mut left = Left::default();
    let mut stop = script.stop;
    for moments in crashes.iter().map(|m| Some(*m)).chain([None]) {
        let process = Process {
            script,
            left: &mut left,
            moments,
        };
        match process.run(stop) {
            Ok(outcome) => return (outcome, left),
            // Who resumes wants it to go on.
            Err(Crash) => stop = None,
        }
    }
    panic!("the last process was not interrupted")
}

/// What every history must be, however it came about.
fn assert_legal(script: &Script, outcome: Outcome, left: &Left) {
    let mut undone: Vec<usize> = Vec::new();
    let mut back = false;
    let mut ended: BTreeMap<(StepId, &str, u32), usize> = BTreeMap::new();
    let mut attempt = 0;
    for stored in &left.journal {
        match &stored.entry {
            Entry::StepStarted {
                step,
                section,
                phase,
                attempt: now,
            } => {
                attempt = *now;
                let forward = *section == Section::Steps && *phase == Phase::Run;
                assert!(!(back && forward), "{step} runs after the rollback began");
                if *phase == Phase::Undo {
                    let at = script.plan.steps.iter().position(|s| s.id == *step);
                    undone.push(at.unwrap());
                }
            }
            Entry::StepFinished { step, phase, .. } | Entry::StepFailed { step, phase, .. } => {
                let key = (step.clone(), word(*phase), attempt);
                *ended.entry(key).or_default() += 1;
            }
            Entry::RollbackStarted { .. } => back = true,
            _ => {}
        }
    }
    assert!(
        undone.windows(2).all(|pair| pair[0] > pair[1]),
        "undone in the order {undone:?}"
    );
    for (what, times) in ended {
        assert_eq!(times, 1, "{what:?} ended more than once");
    }
    for (call, times) in &left.made {
        assert_eq!(*times, 1, "change {call} was made more than once");
    }
    match outcome {
        Outcome::Deployed => assert!(!back),
        Outcome::RolledBack => assert!(back),
        Outcome::Refused | Outcome::FailedUnchanged => {
            let steps: BTreeSet<&StepId> = script.plan.steps.iter().map(|s| &s.id).collect();
            let changed = left.done.values().any(|(step, _)| steps.contains(step));
            assert!(!changed, "{outcome:?} although the target was changed");
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_and_every_history_is_legal(
        script in script(),
        crashes in prop::collection::vec(0..60_usize, 0..5),
    ) {
        let (outcome, left) = through(&script, &crashes);
        assert_legal(&script, outcome, &left);
    }

    #[test]
    fn a_run_that_was_cut_off_ends_like_one_that_was_not(
        script in script(),
        crashes in prop::collection::vec(0..40_usize, 1..5),
    ) {
        let script = Script { stop: None, ..script };
        let (whole, there) = through(&script, &[]);
        let (outcome, left) = through(&script, &crashes);
        prop_assert_eq!(outcome, whole);
        prop_assert_eq!(left.done, there.done);
    }
}
