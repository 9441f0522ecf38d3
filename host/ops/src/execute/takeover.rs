//! What is said at the end of a run that another process has resumed, or
//! has settled, while this one had it or waited for it.

use super::origin::refused;
use vdeploy_core::actor::Actor;
use vdeploy_core::event::Outcome;
use vdeploy_core::ids::RunId;
use vdeploy_journal::{RunView, Store};
use vdeploy_run::Finished;

/// The end of a run that lost its target is completed: whoever took the run and
/// ended it has had the last word, so it is looked at and not undone.
pub(super) fn amend(store: &dyn Store, run: &RunId, me: &Actor, finished: Finished) -> Finished {
    if finished.outcome != Outcome::Interrupted {
        return finished;
    }
    let Ok(journal) = store.journal(run) else {
        return finished;
    };
    let view = RunView::of(&journal);
    let Some(by) = view.taken_over_by.filter(|by| *by != me.name) else {
        return finished;
    };
    let mut next = vec![format!("vdeploy runs show {run}")];
    let how = match view.why_not_resumable() {
        Some(how) => format!("and {how}"),
        None => {
            // It is running, and then this is refused, or it was interrupted too.
            next.push(format!("vdeploy resume {run}"));
            "and has not ended it yet".to_owned()
        }
    };
    Finished {
        message: format!(
            "{}\nanother process has taken the run over ({by}), {how}; what this process says of \
             the target may not be true any more",
            finished.message
        ),
        next,
        ..finished
    }
}

/// A run that is to be resumed did so itself while it was waited for.
pub(super) fn meanwhile(store: &dyn Store, run: &RunId) -> Finished {
    let ended = store
        .journal(run)
        .ok()
        .and_then(|journal| RunView::of(&journal).why_not_resumable());
    let (message, next) = match ended {
        Some(how) => (
            format!("run {run} needs no resume any more: while it was waited for, {how}"),
            format!("vdeploy runs show {run}"),
        ),
        None => (
            format!(
                "run {run} has gone on while it was waited for, in another process, and was cut \
                 off again"
            ),
            format!("vdeploy resume {run}"),
        ),
    };
    Finished {
        next: vec![next],
        ..refused(Outcome::Held, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdeploy_core::plan::Plan;
    use vdeploy_journal::store::RunRecord;
    use vdeploy_journal::{Entry, SqliteStore};

    fn me() -> Actor {
        Actor::named("me")
    }

    fn store(entries: &[Entry]) -> (SqliteStore, RunId) {
        let store = SqliteStore::in_memory().unwrap();
        let plan = Plan::bare("default");
        let record = RunRecord::bare("01A", "infra", plan);
        store.create_run(&record).unwrap();
        store.append_all(&record.id, None, entries).unwrap();
        (store, record.id)
    }

    fn resumed(by: &str) -> Entry {
        Entry::Resumed {
            by: by.to_owned(),
            host_version: String::new(),
        }
    }

    fn ended(outcome: Outcome) -> Entry {
        Entry::Finished {
            outcome,
            message: String::new(),
        }
    }

    fn interrupted() -> Finished {
        Finished {
            next: vec!["vdeploy rollback 01A --to in-place".to_owned()],
            ..refused(Outcome::Interrupted, "the lease was lost".to_owned())
        }
    }

    #[test]
    fn a_run_that_another_process_has_ended_is_looked_at_and_not_undone() {
        let entries = [resumed("ada@desk pid 9"), ended(Outcome::Deployed)];
        let (store, run) = store(&entries);
        let told = amend(&store, &run, &me(), interrupted());
        assert_eq!(told.next, ["vdeploy runs show 01A"]);
        assert!(
            told.message
                .contains("(ada@desk pid 9), and it has ended: deployed"),
            "{}",
            told.message
        );
        let meanwhile = meanwhile(&store, &run);
        assert_eq!(meanwhile.next, ["vdeploy runs show 01A"]);
        assert!(
            meanwhile
                .message
                .ends_with("waited for, it has ended: deployed")
        );
    }

    #[test]
    fn a_run_that_was_its_own_to_the_end_keeps_its_ways() {
        let own = [resumed("x"), resumed(&me().name)];
        for entries in [&own[..], &[]] {
            let (store, run) = store(entries);
            let told = amend(&store, &run, &me(), interrupted());
            assert_eq!(told.next, interrupted().next);
        }
        let (store, run) = store(&[resumed("ada@desk pid 9")]);
        let next = amend(&store, &run, &me(), interrupted()).next;
        assert_eq!(next, ["vdeploy runs show 01A", "vdeploy resume 01A"]);
    }
}
