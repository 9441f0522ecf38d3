//! Which stored runs may be removed. A run that has ended is history, unless a
//! later command still reads it: then it stays, and the operator is told why.
//!
//! Pure: takes what a store says of its runs, decides, removes nothing.

use super::effective::{Effects, RunEffect};
use super::interrupted;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{PlanName, RunId, TargetName, VmId};

/// The runs that an operator wants to be rid of. A run is meant when all that
/// is given here matches.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// All but so many of the newest of each target.
    pub keep: Option<u32>,
    /// Those that began longer ago.
    pub older_than: Option<Duration>,
}

/// What a store says of a run, as far as it matters here.
#[derive(Clone, PartialEq, Debug)]
pub struct PruneCandidate {
    /// Its id.
    pub id: RunId,
    /// The target.
    pub target: TargetName,
    /// The plan's name.
    pub plan: PlanName,
    /// Milliseconds since 1970.
    pub started_at: u64,
    /// None while it runs or was killed.
    pub outcome: Option<Outcome>,
    /// Whether no change was made.
    pub dry_run: bool,
    /// The run that it rolls back.
    pub rolls_back: Option<RunId>,
    /// Whether it changed the target, or may have.
    pub changed: bool,
    /// Whether it was interrupted so that somebody must settle it.
    pub unsettled: bool,
    /// What the lease on its target says of it.
    pub hold: Hold,
    /// Where it moved the target, as far as no fact of the target says so.
    pub unrecorded_relocation: Option<VmId>,
    /// Entries in its journal.
    pub entries: u64,
    /// Bytes of its record and its journal.
    pub bytes: u64,
}

/// What the lease on a run's target says of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Nothing.
    Free,
    /// It holds the target.
    AtWork,
    /// It held the target, and the lease ran out: its process may still be
    /// there.
    RanOut,
    /// A run has the target that is not stored: it begins, and what it has read
    /// of other runs is not seen yet.
    Beginning,
}

/// Why a run that was meant stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeepReason {
    /// It is running.
    AtWork,
    /// Its process may still be there.
    RanOut,
    /// It was interrupted, and nobody has settled it.
    CutOff,
    /// `vdeploy rollback` would undo it.
    Rollback,
    /// The newest one that changed the target.
    LastChange,
    /// The newest one that ended with what is live verified.
    Verified,
    /// This one, which stays, rolls it back.
    RolledBackBy(RunId),
    /// Only its journal says that the target went to this VM.
    Move(VmId),
    /// A run begins on its target.
    Beginning,
    /// It was needed again when it was to be removed.
    Meanwhile,
}

/// What comes of a filter.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Choice {
    /// To be removed, in this order: a rollback before the run that it rolls
    /// back, so that what is left is whole at every moment.
    pub remove: Vec<PruneCandidate>,
    /// Meant, but needed.
    pub kept: Vec<(PruneCandidate, KeepReason)>,
}

/// Decides. `runs` are all runs of the targets in question, newest first; `now`
/// is in milliseconds since 1970.
pub fn choose(runs: Vec<PruneCandidate>, filter: &Filter, now: u64) -> Choice {
    let meant = meant(&runs, filter, now);
    let mut needed = needed(&runs);
    // A rollback is newer than what it rolls back.
    for run in &runs {
        let stays = !meant.contains(&run.id) || needed.contains_key(&run.id);
        if let (true, Some(first)) = (stays, &run.rolls_back) {
            needed
                .entry(first.clone())
                .or_insert_with(|| KeepReason::RolledBackBy(run.id.clone()));
        }
    }
    let mut choice = Choice::default();
    for run in runs.into_iter().filter(|run| meant.contains(&run.id)) {
        match needed.remove(&run.id) {
            Some(why) => choice.kept.push((run, why)),
            None => choice.remove.push(run),
        }
    }
    choice
}

fn meant(runs: &[PruneCandidate], filter: &Filter, now: u64) -> BTreeSet<RunId> {
    let mut newer: BTreeMap<&TargetName, u32> = BTreeMap::new();
    let limit = filter
        .older_than
        .map(|age| now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    let mut meant = BTreeSet::new();
    for run in runs {
        let newer = newer.entry(&run.target).or_default();
        let surplus = filter.keep.is_none_or(|keep| *newer >= keep);
        let old = limit.is_none_or(|limit| run.started_at < limit);
        *newer = newer.saturating_add(1);
        if surplus && old {
            meant.insert(run.id.clone());
        }
    }
    meant
}

/// The runs that a later command reads.
fn needed(runs: &[PruneCandidate]) -> BTreeMap<RunId, KeepReason> {
    let mut needed = BTreeMap::new();
    let mut need = |run: &PruneCandidate, why: KeepReason| {
        needed.entry(run.id.clone()).or_insert(why);
    };
    let mut seen: BTreeSet<(&TargetName, &str)> = BTreeSet::new();
    let undone = to_be_undone(runs);
    for run in runs {
        match run.hold {
            Hold::Free => {}
            Hold::AtWork => need(run, KeepReason::AtWork),
            Hold::RanOut if run.unsettled && !run.dry_run => need(run, KeepReason::CutOff),
            Hold::RanOut => need(run, KeepReason::RanOut),
            Hold::Beginning => need(run, KeepReason::Beginning),
        }
        if let Some(vm) = &run.unrecorded_relocation {
            need(run, KeepReason::Move(vm.clone()));
        }
        if run.dry_run {
            continue;
        }
        if run.unsettled {
            need(run, KeepReason::CutOff);
        }
        // One that can still be resumed may end in any way: whatever is
        // the newest without it is needed too.
        if run.unsettled || run.outcome.is_none() {
            continue;
        }
        let mut newest = |what| seen.insert((&run.target, what));
        if undone.contains(&run.id) {
            need(run, KeepReason::Rollback);
        }
        // It also settles what was interrupted before it.
        if run.changed && !interrupted::is_interrupted(run.outcome) && newest("change") {
            need(run, KeepReason::LastChange);
        }
        if run.outcome == Some(Outcome::Deployed) && newest("verified") {
            need(run, KeepReason::Verified);
        }
    }
    needed
}

/// What `vdeploy rollback` would undo on each target. A rollback that has not
/// come to an end may still end well or not: both are thought through.
fn to_be_undone(runs: &[PruneCandidate]) -> BTreeSet<&RunId> {
    let mut found = BTreeSet::new();
    for end in [None, Some(Outcome::Deployed)] {
        let mut targets: BTreeMap<&TargetName, (Effects, bool)> = BTreeMap::new();
        for run in runs {
            let (effects, done) = targets.entry(&run.target).or_default();
            if *done {
                continue;
            }
            let is_open = run.unsettled || run.outcome.is_none();
            let outcome = match (is_open, &run.rolls_back) {
                (false, _) => run.outcome,
                (true, Some(_)) => end,
                // Whatever is the newest without it is needed too.
                (true, None) => Some(Outcome::RolledBack),
            };
            let effect = effects.next(&run.id, run.rolls_back.as_ref(), outcome, run.dry_run);
            if effect == RunEffect::InEffect && run.changed {
                found.insert(&run.id);
                *done = true;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
