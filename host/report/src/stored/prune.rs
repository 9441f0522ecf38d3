//! `vdeploy runs prune`: the removed runs, and the kept ones with the reason, as
//! text and as JSON. Pure.

use crate::stored::runs::State;
use crate::text::{age, size, table};
use serde_json::{Value, json};
use std::fmt::Write as _;
use vdeploy_core::clean;
use vdeploy_core::event::Outcome;
use vdeploy_journal::prune::{Hold, KeepReason, PruneCandidate};

/// Version of the JSON form.
pub const FORMAT: u32 = 1;

/// The result of a prune.
#[derive(Clone, Copy, Debug)]
pub struct Pruned<'a> {
    pub dry_run: bool,
    /// In a dry run: to be removed.
    pub removed: &'a [PruneCandidate],
    /// Runs that match and are kept.
    pub kept: &'a [(PruneCandidate, KeepReason)],
    /// Bytes of the store before.
    pub before: u64,
    /// Bytes of the store now.
    pub after: u64,
    /// Why the store is not smaller.
    pub not_smaller: Option<&'a str>,
}

impl Pruned<'_> {
    fn given_back(&self) -> u64 {
        self.before.saturating_sub(self.after)
    }

    fn removed_bytes(&self) -> u64 {
        self.removed
            .iter()
            .fold(0, |sum, run| sum.saturating_add(run.bytes))
    }
}

/// `now` is in milliseconds since 1970.
pub fn text(pruned: &Pruned<'_>, now: u64) -> String {
    let Pruned { removed, kept, .. } = pruned;
    let mut out = String::new();
    let also_kept = match kept.len() {
        0 => String::new(),
        1 => ", 1 matching run kept".to_owned(),
        many => format!(", {many} matching runs kept"),
    };
    let runs = match removed.len() {
        1 => "1 run".to_owned(),
        many => format!("{many} runs"),
    };
    let _ = match (pruned.dry_run, removed.is_empty() && kept.is_empty()) {
        (_, true) => writeln!(out, "no run matches; nothing was removed"),
        (true, _) => writeln!(
            out,
            "dry run: {runs} would be removed (about {}){also_kept}",
            size(pruned.removed_bytes())
        ),
        (false, _) => writeln!(out, "{runs} removed{also_kept}"),
    };
    if pruned.dry_run && !removed.is_empty() {
        let _ = write!(out, "\nto remove\n{}", table(&rows(removed, now), "  "));
    }
    if !kept.is_empty() {
        let rows: Vec<_> = kept
            .iter()
            .map(|(run, why)| {
                let [id, age, _, target, outcome] = row(run, now);
                [
                    id,
                    age,
                    target,
                    outcome,
                    clean::line(&sentence(run, why)).into(),
                ]
            })
            .collect();
        let _ = write!(out, "\nkept\n{}", table(&rows, "  "));
    }
    if pruned.dry_run {
        return out;
    }
    if !removed.is_empty() || pruned.given_back() > 0 || pruned.not_smaller.is_some() {
        let _ = writeln!(
            out,
            "{} freed; the store has {}",
            size(pruned.given_back()),
            size(pruned.after)
        );
    }
    if let Some(why) = pruned.not_smaller {
        let _ = writeln!(
            out,
            "the space of the removed runs is not freed yet; later runs reuse it: {}",
            clean::line(why)
        );
    }
    out
}

fn rows(runs: &[PruneCandidate], now: u64) -> Vec<[String; 5]> {
    runs.iter().map(|run| row(run, now)).collect()
}

fn row(run: &PruneCandidate, now: u64) -> [String; 5] {
    let dry = if run.dry_run { " (dry run)" } else { "" };
    [
        clean::line(run.id.as_str()).into_owned(),
        age(now.saturating_sub(run.started_at)),
        clean::line(run.plan.as_str()).into_owned(),
        clean::line(run.target.as_str()).into_owned(),
        format!("{}{dry}", state(run)),
    ]
}

fn state(run: &PruneCandidate) -> &'static str {
    let state = match (run.outcome, &run.rolls_back) {
        (Some(Outcome::Deployed), Some(_)) => State::Reverted,
        (outcome, _) => State::of(outcome, run.hold == Hold::AtWork),
    };
    state.word()
}

/// Why a run is kept, and what the operator can do about it.
fn sentence(run: &PruneCandidate, why: &KeepReason) -> String {
    let id = &run.id;
    match why {
        KeepReason::AtWork => "it is running".to_owned(),
        KeepReason::RanOut => {
            "its lease expired and nobody took its target since: its process may still run"
                .to_owned()
        }
        KeepReason::CutOff => format!(
            "it was interrupted: `vdeploy resume {id}`, `vdeploy rollback {}` or `vdeploy abandon \
             {id} --reason \"REASON\"`",
            run.rolls_back.as_ref().unwrap_or(id)
        ),
        KeepReason::Rollback => "`vdeploy rollback` would undo it".to_owned(),
        KeepReason::LastChange => "the last change of its target".to_owned(),
        KeepReason::Verified => "the last verified run of its target".to_owned(),
        KeepReason::RolledBackBy(by) => format!("run {by}, which is kept, rolls it back"),
        KeepReason::Move(vm) => format!("only it records that its target moved to VM {vm}"),
        KeepReason::Beginning => "a run begins on its target; try again".to_owned(),
        KeepReason::Meanwhile => "another process needs it; try again".to_owned(),
    }
}

fn word(why: &KeepReason) -> &'static str {
    match why {
        KeepReason::AtWork => "running",
        KeepReason::RanOut => "expired",
        KeepReason::CutOff => "interrupted",
        KeepReason::Rollback => "rollback",
        KeepReason::LastChange => "last-change",
        KeepReason::Verified => "verified",
        KeepReason::RolledBackBy(_) => "rolled-back-by",
        KeepReason::Move(_) => "move",
        KeepReason::Beginning => "beginning",
        KeepReason::Meanwhile => "meanwhile",
    }
}

pub fn json(pruned: &Pruned<'_>) -> Value {
    let kept: Vec<_> = pruned
        .kept
        .iter()
        .map(|(run, why)| {
            let mut value = member(run);
            if let Some(members) = value.as_object_mut() {
                members.insert("reason".to_owned(), word(why).into());
                members.insert("message".to_owned(), sentence(run, why).into());
            }
            value
        })
        .collect();
    json!({
        "format": FORMAT,
        "dry-run": pruned.dry_run,
        "removed": pruned.removed.iter().map(member).collect::<Vec<_>>(),
        "kept": kept,
        "removed-bytes": pruned.removed_bytes(),
        "bytes-before": pruned.before,
        "bytes-after": pruned.after,
        "given-back": pruned.given_back(),
        "not-smaller": pruned.not_smaller,
    })
}

fn member(run: &PruneCandidate) -> Value {
    json!({
        "id": run.id,
        "plan": run.plan,
        "target": run.target,
        "state": state(run),
        "outcome": run.outcome,
        "dry-run": run.dry_run,
        "started-at": run.started_at,
        "bytes": run.bytes,
    })
}

#[cfg(test)]
mod tests;
