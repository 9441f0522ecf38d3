//! Repeats a recorded run: calls the functions that were called, in the order
//! in which they were, and stops at the first that does something else. What
//! is next is not decided here; the recording says it.

use super::driver::{Execution, Progress};
use super::machine::Ended;
use super::trace::{Ending, Function};
use serde_json::Value;
use vdeploy_core::event::{Phase, RunEvent, Section};
use vdeploy_core::ids::StepId;
use vdeploy_gate::{ReplayStop, ReplaySummary};

/// What came of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Replayed {
    /// Functions that went as recorded.
    pub functions: usize,
    /// Calls that were answered.
    pub calls: usize,
    /// Where it first went otherwise.
    pub difference: Option<Difference>,
    /// The step in which the recording breaks off.
    pub cut_off: Option<StepId>,
}

/// Where a replay first went otherwise.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The step.
    pub step: StepId,
    /// Its list.
    pub section: Section,
    /// Which function.
    pub phase: Phase,
    /// From 1.
    pub attempt: u32,
    /// In what.
    pub what: What,
}

/// A call: function and arguments.
pub type Asked = (String, Value);

/// In what a function differs from what was recorded of it.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// In this call.
    Call {
        /// Its number.
        call: u64,
        /// What was recorded; none when nothing more was asked.
        recorded: Option<Asked>,
        /// What is asked now; none when nothing more is asked.
        now: Option<Asked>,
    },
    /// In how it ended.
    End {
        /// What was recorded.
        recorded: Ending,
        /// What it is now.
        now: Ending,
    },
    /// Not known: the recording does not have the whole answer of this call.
    Incomplete {
        /// Its number.
        call: u64,
        /// For example `ssh.exec`.
        function: String,
    },
}

impl Execution {
    /// Repeats these functions. The gate must answer from a recording.
    pub async fn replay(&self, functions: &[Function]) -> Replayed {
        let mut progress = Progress::default();
        let mut replayed = Replayed::default();
        for function in functions {
            if let Some(cause) = &function.rollback {
                progress.history.rollback_begun();
                let cause = cause.clone();
                self.shared.emit(RunEvent::RollbackStarted {
                    cause,
                    undoes: None,
                });
            }
            let (now, repeated) = self.repeat(function, &mut progress).await;
            replayed.calls += repeated.answered;
            let cut = matches!(repeated.stop, Some(ReplayStop::CutOff { .. }));
            let what = difference(function, repeated, &now);
            if let Some(what) = what {
                replayed.difference = Some(Difference {
                    step: function.step.clone(),
                    section: function.place.section,
                    phase: function.phase,
                    attempt: function.attempt,
                    what,
                });
                return replayed;
            }
            replayed.functions += 1;
            match &function.ended {
                None => {
                    replayed.cut_off = Some(function.step.clone());
                    return replayed;
                }
                Some(recorded) => {
                    let ended = if cut { recorded } else { &now };
                    settle(function, ended, &mut progress);
                }
            }
        }
        replayed
    }

    async fn repeat(
        &self,
        function: &Function,
        progress: &mut Progress,
    ) -> (Ending, ReplaySummary) {
        self.shared.replay_next(function.segment.clone());
        let mut places = super::machine::places(&self.plan, function.place.section);
        let step = places.find(|(place, _)| *place == function.place);
        let problems = progress.problems.len();
        let output = match (step, function.phase) {
            (Some((place, step)), phase) => {
                let given = match phase {
                    Phase::Undo => progress.outputs.get(&step.id).cloned(),
                    Phase::Check | Phase::Run => None,
                };
                let attempt = function.attempt;
                self.call(step, place, phase, attempt, given, progress)
                    .await
            }
            (None, _) => None,
        };
        let failed = progress.problems.get(problems);
        let now = match failed {
            Some(problem) => Ending::Failed(problem.failure.clone()),
            None => Ending::Finished(output.filter(|_| function.phase == Phase::Run)),
        };
        (now, self.shared.replayed())
    }
}

/// What the function came to, for those after it.
fn settle(function: &Function, ended: &Ending, progress: &mut Progress) {
    let (place, phase) = (function.place, function.phase);
    if phase != Phase::Run {
        return;
    }
    let ended = match ended {
        Ending::Finished(output) => {
            let output = output.clone().unwrap_or_default();
            progress.outputs.insert(function.step.clone(), output);
            Ended::Finished
        }
        Ending::Failed(_) => Ended::Failed { retry: false },
    };
    progress.history.ran(place, function.attempt, ended);
}

/// In what the function differs from its recording; none when in nothing.
fn difference(function: &Function, repeated: ReplaySummary, now: &Ending) -> Option<What> {
    match repeated.stop {
        Some(ReplayStop::Differs {
            call,
            recorded,
            function,
            request,
        }) => {
            return Some(What::Call {
                call,
                recorded: recorded.map(|recorded| (recorded.function, recorded.request)),
                now: Some((function, request)),
            });
        }
        Some(ReplayStop::Incomplete { call, function }) => {
            return Some(What::Incomplete { call, function });
        }
        Some(ReplayStop::CutOff { .. }) => return None,
        None => {}
    }
    if let Some((call, recorded)) = repeated.not_asked {
        return Some(What::Call {
            call,
            recorded: Some((recorded.function, recorded.request)),
            now: None,
        });
    }
    let recorded = function.ended.as_ref()?;
    (!is_same(recorded, now)).then(|| What::End {
        recorded: recorded.clone(),
        now: now.clone(),
    })
}

/// Bit for bit: what was recorded went through its text, so both do.
fn is_same(recorded: &Ending, now: &Ending) -> bool {
    let text = |output: &Option<Value>| {
        let text = output.as_ref().map(Value::to_string)?;
        let back: Value = serde_json::from_str(&text).ok()?;
        Some(back.to_string())
    };
    match (recorded, now) {
        (Ending::Finished(a), Ending::Finished(b)) => a.as_ref().map(Value::to_string) == text(b),
        (a, b) => a == b,
    }
}
