//! What to do next, as a pure function of the plan and of what happened. Does
//! no I/O, reads no clock, spawns nothing.

use std::collections::{BTreeMap, BTreeSet};
use vdeploy_core::event::Outcome;
use vdeploy_core::event::Section;
use vdeploy_core::plan::{OnFailure, Plan, RollbackTo, Step};

/// Where a step stands in a plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Place {
    /// Its list.
    pub section: Section,
    /// From 0.
    pub index: usize,
}

/// The next thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Call `check`.
    Check(Place),
    /// Call `run`; waits the retry's delay first when `attempt` > 1.
    Run(Place, u32),
    /// Record that the rollback begins.
    BeginRollback,
    /// Call `undo` of a step of the plan.
    Undo(Place),
    /// Nothing more: the run ends so.
    Done(Outcome),
}

/// What is known about a plan's steps besides the plan.
#[derive(Clone, Debug, Default)]
pub struct Traits {
    /// Indices of `steps` whose plugin exports `undo`.
    pub undoable: BTreeSet<usize>,
    /// Indices of `steps` that were granted a change.
    pub may_change: BTreeSet<usize>,
    /// The plan is itself a rollback that a person asked for.
    pub is_rollback: bool,
}

/// How a call of `run` ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It returned an output.
    Finished,
    /// It failed; `retry` is whether a further try may help.
    Failed {
        /// Not so for a refused or invalid call.
        retry: bool,
    },
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    checked: BTreeMap<Place, bool>,
    runs: BTreeMap<Place, (u32, Ended)>,
    undone: BTreeMap<usize, bool>,
    rollback_begun: bool,
    /// A finally step has begun: how the run ends is settled.
    settled: bool,
    /// The target was changed, or may have been.
    pub target_changed: bool,
    /// A person or CI asked the run to stop.
    pub cancelled: bool,
}

impl History {
    /// `check` ended.
    pub fn checked(&mut self, place: Place, ok: bool) {
        self.checked.insert(place, ok);
    }

    /// An attempt of `run` ended.
    pub fn ran(&mut self, place: Place, attempt: u32, ended: Ended) {
        self.runs.insert(place, (attempt, ended));
    }

    /// `undo` ended.
    pub fn undone(&mut self, index: usize, ok: bool) {
        self.undone.insert(index, ok);
    }

    /// The rollback began. What was asked to stop is stopped; the rollback is
    /// not.
    pub fn rollback_begun(&mut self) {
        self.rollback_begun = true;
        self.cancelled = false;
    }

    /// A finally step begins; the target was changed until now, or was not.
    pub fn finally_begun(&mut self, target_changed: bool) {
        self.observe(target_changed, false);
        self.settled = true;
    }

    /// Takes over what is known now. Once a finally step ran, how the run ends
    /// is settled: what such a step changes, or a stop that comes then, does
    /// not begin a rollback.
    pub fn observe(&mut self, target_changed: bool, cancelled: bool) {
        let settled = self.runs.keys().any(|p| p.section == Section::Finally);
        if !settled && !self.settled {
            self.target_changed = target_changed;
            self.cancelled |= cancelled;
        }
    }

    /// The step that made the run fail.
    pub fn failed_step(&self, plan: &Plan) -> Option<usize> {
        (0..plan.steps.len()).find(|index| {
            let place = Place {
                section: Section::Steps,
                index: *index,
            };
            matches!(self.runs.get(&place), Some((_, Ended::Failed { .. })))
        })
    }
}

/// Steps of one list with their places.
pub fn places(plan: &Plan, section: Section) -> impl Iterator<Item = (Place, &Step)> {
    let steps = match section {
        Section::Steps => &plan.steps,
        Section::Rollback => &plan.rollback,
        Section::Finally => &plan.finally,
    };
    steps
        .iter()
        .enumerate()
        .map(move |(index, step)| (Place { section, index }, step))
}

/// The one transition function.
pub fn next(plan: &Plan, traits: &Traits, history: &History) -> Action {
    let sections = [Section::Steps, Section::Rollback, Section::Finally];
    for (place, _) in sections.iter().flat_map(|s| places(plan, *s)) {
        if history.cancelled && !history.rollback_begun {
            break;
        }
        if !history.checked.contains_key(&place) {
            return Action::Check(place);
        }
    }
    if history.cancelled && history.runs.is_empty() {
        return Action::Done(Outcome::Interrupted);
    }
    if history.checked.values().any(|ok| !ok) {
        return Action::Done(Outcome::Refused);
    }
    let ending = match forward(plan, traits, history) {
        Ok(action) => return action,
        Err(outcome) => outcome,
    };
    // Nothing ran: there is nothing to tidy up.
    if history.runs.is_empty() {
        return Action::Done(ending);
    }
    for (place, step) in places(plan, Section::Finally) {
        if let Some(action) = attempt(place, step, history) {
            return action;
        }
    }
    Action::Done(ending)
}

/// The next step, or how the run ends before its finally steps.
fn forward(plan: &Plan, traits: &Traits, history: &History) -> Result<Action, Outcome> {
    if history.rollback_begun {
        return rollback(plan, traits, history);
    }
    let next = places(plan, Section::Steps)
        .find(|(place, _)| !matches!(history.runs.get(place), Some((_, Ended::Finished))));
    let Some((place, step)) = next else {
        // Also when the stop came while the last step ended well.
        return Err(Outcome::Deployed);
    };
    if !history.cancelled
        && let Some(action) = attempt(place, step, history)
    {
        return Ok(action);
    }
    if !history.target_changed {
        if history.cancelled {
            return Err(Outcome::Interrupted);
        }
        let later_change = traits.may_change.range(place.index..).next().is_some();
        let nothing_done = traits.may_change.range(..=place.index).next().is_none();
        return Err(if later_change && nothing_done {
            Outcome::Refused
        } else {
            Outcome::FailedUnchanged
        });
    }
    if traits.is_rollback {
        return Err(Outcome::RollbackFailed);
    }
    match step.on_failure.unwrap_or(plan.on_failure) {
        OnFailure::Rollback => Ok(Action::BeginRollback),
        OnFailure::Keep if history.cancelled => Err(Outcome::Interrupted),
        OnFailure::Keep => Err(Outcome::Kept),
    }
}

/// The next undo or rollback step, or how the rollback ends.
fn rollback(plan: &Plan, traits: &Traits, history: &History) -> Result<Action, Outcome> {
    if plan.rollback_to == RollbackTo::InPlace {
        let started = places(plan, Section::Steps)
            .filter(|(place, _)| history.runs.contains_key(place))
            .map(|(place, _)| place);
        let mut to_undo: Vec<Place> = started
            .filter(|place| traits.undoable.contains(&place.index))
            .filter(|place| !history.undone.contains_key(&place.index))
            .collect();
        if let Some(last) = to_undo.pop() {
            return Ok(Action::Undo(last));
        }
    }
    for (place, step) in places(plan, Section::Rollback) {
        if let Some(action) = attempt(place, step, history) {
            return Ok(action);
        }
        if let Some((_, Ended::Failed { .. })) = history.runs.get(&place) {
            return Err(Outcome::RollbackFailed);
        }
    }
    if history.undone.values().any(|ok| !ok) {
        return Err(Outcome::RollbackFailed);
    }
    Err(Outcome::RolledBack)
}

/// The first or a further try of a step, unless it is settled.
fn attempt(place: Place, step: &Step, history: &History) -> Option<Action> {
    match history.runs.get(&place) {
        None => Some(Action::Run(place, 1)),
        Some((tries, Ended::Failed { retry: true })) if *tries < step.retry.attempts => {
            Some(Action::Run(place, tries + 1))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
