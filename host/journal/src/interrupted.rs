//! The run of a target that was interrupted: its journal has no end, or says
//! so. What it was doing is not known, so the next run on the target does not
//! begin before that is settled.

use super::run_view::RunView;
use super::store::{RunRecord, Store, StoreError};
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::{RunId, StepId, TargetName};

/// How many runs of a target are read.
const LOOK_BACK: u32 = 100;

#[derive(Clone, Debug)]
pub struct Interrupted {
    pub record: RunRecord,
    /// The step that it was in, if it was in one.
    pub step: Option<StepId>,
    /// See [`RunView::target_changed`].
    pub target_changed: bool,
}

/// The newest run of the target that was interrupted after it had begun a
/// change, and that nobody has settled. Also finds runs that are running: hold
/// the lease to rule them out.
pub fn of_target(
    store: &dyn Store,
    target: &TargetName,
) -> Result<Option<Interrupted>, StoreError> {
    find(store, target, None)
}

/// The same without the run `me`, which a process resumes.
pub fn other_than(
    store: &dyn Store,
    target: &TargetName,
    me: &RunId,
) -> Result<Option<Interrupted>, StoreError> {
    find(store, target, Some(me))
}

fn find(
    store: &dyn Store,
    target: &TargetName,
    except: Option<&RunId>,
) -> Result<Option<Interrupted>, StoreError> {
    let mut runs = store.runs(Some(target), LOOK_BACK)?;
    runs.retain(|run| except != Some(&run.id));
    if !runs
        .iter()
        .any(|run| !run.dry_run && is_interrupted(run.outcome))
    {
        return Ok(None);
    }
    for summary in runs.iter().filter(|run| !run.dry_run) {
        let journal = store.journal(&summary.id)?;
        let view = RunView::of(&journal);
        if is_interrupted(summary.outcome) {
            if view.is_unsettled() {
                return Ok(Some(Interrupted {
                    record: store.run(summary.id.as_str())?,
                    step: view.current_step().cloned(),
                    target_changed: view.target_changed(),
                }));
            }
        } else if view.target_changed() {
            // A later run that ended has settled what was interrupted before.
            return Ok(None);
        }
    }
    Ok(None)
}

/// Whether a run with this outcome, or with none, has not come to an end.
pub(super) fn is_interrupted(outcome: Option<Outcome>) -> bool {
    matches!(outcome, None | Some(Outcome::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::sqlite::SqliteStore;
    use serde_json::Value;
    use vdeploy_core::event::{Phase, Section};
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

    /// The id and the step of the interrupted run.
    fn found(store: &SqliteStore) -> Option<(String, Option<String>)> {
        let found = of_target(store, &"infra".into()).unwrap()?;
        let step = found.step.map(|step| step.to_string());
        Some((found.record.id.to_string(), step))
    }

    #[test]
    fn a_killed_run_that_began_a_change_is_interrupted() {
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
                .map(|run| run.target_changed),
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
        let why = RunView::of(&journal).why_not_resumable();
        assert_eq!(why.unwrap(), "it was abandoned: looked at it");
    }

    #[test]
    fn a_run_that_was_stopped_in_time_needs_nothing() {
        let store = SqliteStore::in_memory().unwrap();
        let entries = [intent(false), finished(Outcome::Interrupted)];
        run(&store, "01A", 1, &entries);
        assert_eq!(found(&store), None);
        let journal = store.journal(&"01A".into()).unwrap();
        let why = RunView::of(&journal).why_not_resumable();
        assert_eq!(why, None, "and may be resumed");
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
