//! Runs that were cut off: their journal has no end, or says that the run was
//! interrupted. What such a run has done is known, what it was doing is not, so
//! the next run on the target does not begin beside it.

use super::entry::Entry;
use super::store::{RunRecord, Store, StoreError, Stored};
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{StepId, TargetName, VmId};

/// How many runs of a target are looked at.
const LOOK_BACK: u32 = 100;

/// A run that was cut off.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// The run.
    pub record: RunRecord,
    /// The step that it was in, if it was in one.
    pub step: Option<StepId>,
    /// Whether it changed the target, or may have.
    pub changed: bool,
}

/// The newest run of the target that was cut off after it had made or begun a
/// change, and that nobody has settled. Runs that are at work are among them:
/// who asks holds the lease.
pub fn of_target(store: &dyn Store, target: &TargetName) -> Result<Option<Unfinished>, StoreError> {
    let runs = store.runs(Some(target), LOOK_BACK)?;
    if !runs
        .iter()
        .any(|run| !run.dry_run && is_cut_off(run.outcome))
    {
        return Ok(None);
    }
    for summary in runs.iter().filter(|run| !run.dry_run) {
        let journal = store.journal(&summary.id)?;
        let seen = look(&journal);
        if is_cut_off(summary.outcome) {
            if seen.is_unsettled(summary.outcome) {
                return Ok(Some(Unfinished {
                    record: store.run(summary.id.as_str())?,
                    step: seen.step,
                    changed: seen.changed,
                }));
            }
        } else if seen.changed {
            // What was cut off before it is settled: this run has ended.
            return Ok(None);
        }
    }
    Ok(None)
}

/// Whether the run can be gone on with: none when it can, else why not.
pub fn why_not(journal: &[Stored]) -> Option<String> {
    let seen = look(journal);
    if let Some(reason) = seen.abandoned_because {
        return Some(format!("it was abandoned: {reason}"));
    }
    match journal.last().map(|stored| &stored.entry) {
        Some(Entry::Finished { outcome, .. }) if *outcome != Outcome::Interrupted => {
            Some(format!("it has ended: {}", word(*outcome)))
        }
        _ => None,
    }
}

/// Whether it has begun a change of the target; what did not happen counts too.
pub fn has_changed(journal: &[Stored]) -> bool {
    look(journal).changed
}

/// Whether it has begun a change, so that it is to be settled before the next.
pub fn has_begun(journal: &[Stored]) -> bool {
    let seen = look(journal);
    seen.begun || seen.changed
}

fn word(outcome: Outcome) -> String {
    match serde_json::to_value(outcome) {
        Ok(serde_json::Value::String(word)) => word,
        _ => format!("{outcome:?}"),
    }
}

/// What a journal says of how far its run came. The results of calls say
/// nothing of it.
#[derive(Default)]
pub(super) struct Seen {
    pub begun: bool,
    pub changed: bool,
    pub abandoned: bool,
    abandoned_because: Option<String>,
    step: Option<StepId>,
    /// From which VM to which.
    pub moves: Vec<(VmId, VmId)>,
}

impl Seen {
    /// Whether a run with this outcome, or with none, was cut off so that
    /// somebody must settle it.
    pub fn is_unsettled(&self, outcome: Option<Outcome>) -> bool {
        let killed = outcome.is_none() && self.begun;
        is_cut_off(outcome) && !self.abandoned && (killed || self.changed)
    }
}

/// Whether a run with this outcome has not come to an end.
pub(super) fn is_cut_off(outcome: Option<Outcome>) -> bool {
    matches!(outcome, None | Some(Outcome::Interrupted))
}

pub(super) fn look(journal: &[Stored]) -> Seen {
    let mut seen = Seen::default();
    for stored in journal {
        match &stored.entry {
            Entry::StepStarted { step, .. } => seen.step = Some(step.clone()),
            Entry::StepFinished { .. } => seen.step = None,
            Entry::Intent {
                changes_target,
                function,
                ..
            } => {
                seen.begun |= function != "clock.sleep-ms";
                seen.changed |= changes_target;
            }
            Entry::Abandoned { reason, .. } => {
                seen.abandoned = true;
                seen.abandoned_because = Some(reason.clone());
            }
            Entry::Resumed { .. } => {
                seen.abandoned = false;
                seen.abandoned_because = None;
            }
            Entry::TargetMoved {
                from: Some(from),
                to,
            } => seen.moves.push((from.clone(), to.clone())),
            _ => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::SqliteStore;
    use serde_json::Value;
    use vdeploy_core::event::{Phase, Section};
    use vdeploy_core::ids::RunId;
    use vdeploy_core::plan::Plan;

    fn run(store: &SqliteStore, id: &str, at: u64, entries: &[Entry]) {
        let plan = Plan::bare("default");
        let record = RunRecord {
            started_at: at,
            ..RunRecord::bare(id, "infra", plan)
        };
        store.create_run(&record).unwrap();
        store.append_all(&RunId::from(id), None, entries).unwrap();
    }

    fn started(step: &str) -> Entry {
        Entry::StepStarted {
            step: step.into(),
            section: Section::Steps,
            phase: Phase::Run,
            attempt: 1,
        }
    }

    fn intent(changes_target: bool) -> Entry {
        Entry::Intent {
            call: 1,
            step: "a".into(),
            function: "ssh.exec".to_owned(),
            request: Value::Null,
            changes_target,
        }
    }

    fn finished(outcome: Outcome) -> Entry {
        Entry::Finished {
            outcome,
            message: String::new(),
        }
    }

    fn abandoned() -> Entry {
        Entry::Abandoned {
            by: "me".to_owned(),
            reason: "looked at it".to_owned(),
        }
    }

    /// The id and the step of the unfinished run.
    fn found(store: &SqliteStore) -> Option<(String, Option<String>)> {
        let found = of_target(store, &"infra".into()).unwrap()?;
        let step = found.step.map(|step| step.to_string());
        Some((found.record.id.to_string(), step))
    }

    #[test]
    fn a_killed_run_that_began_a_change_is_unfinished() {
        let store = SqliteStore::in_memory().unwrap();
        assert_eq!(found(&store), None);
        run(&store, "01A", 1, &[started("a")]);
        assert_eq!(found(&store), None, "it has changed nothing");
        run(&store, "01B", 2, &[started("b"), intent(false)]);
        assert_eq!(found(&store), Some(("01B".into(), Some("b".into()))));
        run(&store, "01C", 3, &[started("c"), intent(true)]);
        assert_eq!(found(&store), Some(("01C".into(), Some("c".into()))));
        run(&store, "01D", 4, &[finished(Outcome::Deployed)]);
        assert_eq!(found(&store).unwrap().0, "01C", "a run that only looked");
        assert_eq!(
            of_target(&store, &"other".into())
                .unwrap()
                .map(|u| u.changed),
            None
        );
    }

    #[test]
    fn a_later_run_or_a_word_settles_it() {
        let store = SqliteStore::in_memory().unwrap();
        run(&store, "01A", 1, &[started("a"), intent(true)]);
        run(
            &store,
            "01B",
            2,
            &[intent(true), finished(Outcome::Deployed)],
        );
        assert_eq!(found(&store), None);
        run(
            &store,
            "01C",
            3,
            &[intent(true), finished(Outcome::Interrupted)],
        );
        assert_eq!(found(&store).unwrap().0, "01C");
        store.append(&"01C".into(), None, &abandoned()).unwrap();
        assert_eq!(found(&store), None);
        let journal = store.journal(&"01C".into()).unwrap();
        assert_eq!(why_not(&journal).unwrap(), "it was abandoned: looked at it");
    }

    #[test]
    fn a_run_that_was_stopped_in_time_needs_nothing() {
        let store = SqliteStore::in_memory().unwrap();
        let entries = [intent(false), finished(Outcome::Interrupted)];
        run(&store, "01A", 1, &entries);
        assert_eq!(found(&store), None);
        let journal = store.journal(&"01A".into()).unwrap();
        assert_eq!(why_not(&journal), None, "and may be gone on with");
    }

    #[test]
    fn an_abandoned_run_has_an_end_in_the_list() {
        let store = SqliteStore::in_memory().unwrap();
        run(&store, "01A", 1, &[intent(true), abandoned()]);
        let runs = store.runs(None, 1).unwrap();
        assert_eq!(runs[0].outcome, Some(Outcome::Interrupted));
        assert!(runs[0].finished_at.is_some());
    }
}
