//! The crash matrix: a run is interrupted before and after every write to its
//! journal, resumed by another process, and ends as if nothing had been. Each
//! process is a session over the same store, as `vdeploy run` and `vdeploy
//! resume` are.
//! What was done to the target is counted by the target. Over 500 lines: the
//! matrices share one target that counts.

use crate::crash_world::{Outside, Target};
use crate::driver::{exec, fail, plan, step};
use crate::session::{process, session};
use crate::stage::all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use vdeploy_core::capability::clock::{Clock, SimulatedClock};
use vdeploy_core::event::{Outcome, RunEvent};
use vdeploy_core::ids::RunId;
use vdeploy_core::plan::{OnFailure, Plan, RollbackTo, Step};
use vdeploy_journal::doubles::FailsAfter;
use vdeploy_journal::store::Stored;
use vdeploy_journal::{Entry, SqliteStore, Store};
use vdeploy_lease::LeaseTimes;
use vdeploy_ops::{Deploy, Operation, Resume, Session};
use vdeploy_run::Finished;

/// The id of every run here.
const RUN: &str = "01RUN";

/// What is left of a run when its process is gone.
struct Run {
    id: RunId,
    target: Target,
    store: Arc<SqliteStore>,
    /// Milliseconds since 1970 on the store's clock.
    time: Arc<AtomicU64>,
    plan: Plan,
    session: Session,
}

impl Run {
    fn new(plan: &Plan) -> Self {
        let time = Arc::new(AtomicU64::new(1_700_000_000_000));
        let now = time.clone();
        let store = SqliteStore::in_memory().unwrap();
        let store = store.with_clock(Arc::new(move || now.load(Ordering::SeqCst)));
        Self {
            id: RunId::from(RUN),
            target: Target::new(),
            store: Arc::new(store),
            time,
            plan: plan.clone(),
            session: session([plan], all()),
        }
    }

    /// The same run as if it had begun with another plan.
    fn as_if_of(&self, plan: &Plan) -> Self {
        let mut record = self.store.run(RUN).unwrap();
        record.plan = plan.clone();
        record.configs.clear();
        let other = Self {
            target: self.target.clone(),
            ..Self::new(plan)
        };
        other.store.create_run(&record).unwrap();
        for stored in self.journal() {
            other.store.append(&self.id, None, &stored.entry).unwrap();
        }
        other
    }

    fn journal(&self) -> Vec<Stored> {
        self.store.journal(&self.id).unwrap()
    }

    /// One process of the run: the first, or one that resumes it.
    async fn process(&self, store: Arc<dyn Store>) -> (Finished, Vec<RunEvent>) {
        let clock = Arc::new(SimulatedClock::new(1_700_000_000_000));
        self.process_until(store, clock, std::future::pending())
            .await
    }

    /// One that is stopped (Ctrl-C) when `stop` comes.
    async fn process_until(
        &self,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        stop: impl Future<Output = &'static str>,
    ) -> (Finished, Vec<RunEvent>) {
        let target = self.target.clone();
        let session = self.session.with_options(|options| {
            options.store = Some(store);
            options.world = Some(Arc::new(Outside { target, clock }));
        });
        let operation = match self.store.run(RUN) {
            Err(_) => Operation::Deploy(Deploy {
                plan: self.plan.name.to_string(),
                run: Some(self.id.clone()),
                ..Deploy::default()
            }),
            Ok(_) => {
                // The lease of the process before it has expired.
                let ttl = u64::try_from(LeaseTimes::default().in_store.as_millis()).unwrap();
                self.time.fetch_add(ttl, Ordering::SeqCst);
                Operation::Resume(Resume {
                    run: Some(RUN.to_owned()),
                    ..Resume::default()
                })
            }
        };
        process(&session, operation, stop).await
    }

    /// Processes until one is not interrupted; `cuts` are the writes that each of
    /// the first ones gets, and whether the next one still gets there.
    async fn through(&self, cuts: &[(usize, bool)]) -> Option<Finished> {
        for (nth, (writes, late)) in cuts.iter().enumerate() {
            let store = Arc::new(FailsAfter::over(self.store.clone(), *writes, *late));
            let (finished, _) = self.process(store.clone()).await;
            if !store.has_failed() {
                return None;
            }
            // A resume that cannot be recorded has not begun.
            let outcome = match (nth, writes) {
                (1.., 0) => Outcome::Internal,
                _ => Outcome::Interrupted,
            };
            assert_eq!(finished.outcome, outcome, "{}", finished.message);
        }
        if self.journal().is_empty() {
            // Cut off before its first entry: it has begun nothing.
            return None;
        }
        let ended = matches!(
            self.journal().last().map(|s| &s.entry),
            Some(Entry::Finished { .. })
        );
        match ended {
            true => None,
            false => Some(self.process(self.store.clone()).await.0),
        }
    }
}

/// Snapshot, build, deploy, tell the world, wait, look. `broken` is the last
/// step.
fn deploy(to: RollbackTo, broken: bool) -> Plan {
    let post = json!({ "do": "http", "method": "POST", "url": "https://hooks.example.com/x",
        "try": true });
    let probe = json!({ "do": "probe", "argv": ["echo", "version"] });
    let mut smoke = vec![
        json!({ "do": "http", "method": "GET", "url": "/version" }),
        json!({ "do": "http-all", "urls": ["/a", "/b", "/c"] }),
        json!({ "do": "sleep", "ms": 5000 }),
        json!({ "do": "now" }),
    ];
    if broken {
        smoke.push(fail());
    }
    let mut plan = plan([
        step(
            "build",
            json!({ "run": [probe, exec("build")], "undo": [exec("unbuild")] }),
        ),
        step(
            "deploy",
            json!({ "run": [{ "do": "put", "key": "k", "value": "v" }, exec("live=2"), post,
                { "do": "reveal", "name": "token" }], "undo": [exec("live=1"), exec("tidy")] }),
        ),
        step("smoke", json!({ "run": smoke })),
    ]);
    plan.on_failure = OnFailure::Rollback;
    plan.rollback_to = to;
    if to == RollbackTo::Snapshot {
        let restore = json!({ "run": [{ "do": "snapshot", "label": "evidence" }, { "do": "facts" },
            { "do": "restore", "id": "snapshot-0" }, { "do": "facts" }, exec("after")] });
        plan.rollback.push(step("restore", restore));
    }
    plan.rollback.push(step(
        "verify",
        json!({ "run": [{ "do": "probe", "argv": ["echo", "v"] }] }),
    ));
    plan.finally
        .push(step("tell", json!({ "run": [exec("told")] })));
    plan
}

/// Every change has one result, and no number is used twice.
fn assert_legal(journal: &[Stored], case: &str) {
    let mut intents: BTreeMap<u64, usize> = BTreeMap::new();
    let mut results: BTreeMap<u64, usize> = BTreeMap::new();
    for stored in journal {
        match &stored.entry {
            Entry::Intent { call, .. } => *intents.entry(*call).or_default() += 1,
            Entry::Result { call, .. } => *results.entry(*call).or_default() += 1,
            _ => {}
        }
    }
    for (call, count) in &intents {
        assert_eq!(*count, 1, "{case}: intents of call {call}");
        assert_eq!(
            results.get(call),
            Some(&1),
            "{case}: results of call {call}"
        );
    }
    for (call, count) in &results {
        assert_eq!(*count, 1, "{case}: results of call {call}");
    }
}

/// What several processes recorded is one run, and goes the same again.
async fn assert_repeatable(run: &Run, case: &str) {
    let recording = vdeploy_ops::recording::recording(&*run.store, RUN).unwrap();
    let again = crate::replay::repeat(&recording).await.replayed;
    assert_eq!(again.difference, None, "{case}");
    assert_eq!(again.cut_off, None, "{case}");
}

/// `seconds`: where the process that goes on is interrupted in its turn.
async fn matrix(plan: Plan, outcome: Outcome, live: &str, seconds: &[Option<(usize, bool)>]) {
    let whole = Run::new(&plan);
    let (finished, _) = whole.process(whole.store.clone()).await;
    assert_eq!(finished.outcome, outcome, "{}", finished.message);
    assert_legal(&whole.journal(), "whole");
    let changes = whole.target.lock().changes.clone();
    let mut cases = 0;
    for second in seconds {
        for first in 1.. {
            let mut over = true;
            for late in [false, true] {
                let cuts: Vec<(usize, bool)> = [(first, late)].into_iter().chain(*second).collect();
                let case = format!("interrupted at {cuts:?}");
                let run = Run::new(&plan);
                let Some(finished) = run.through(&cuts).await else {
                    continue;
                };
                over = false;
                cases += 1;
                assert_eq!(finished.outcome, outcome, "{case}: {}", finished.message);
                {
                    let place = run.target.lock();
                    assert_eq!(place.live, live, "{case}");
                    assert_eq!(place.changes, changes, "{case}");
                    assert!(place.posts <= 1, "{case}: {} posts", place.posts);
                }
                assert_legal(&run.journal(), &case);
                assert_repeatable(&run, &case).await;
            }
            if over {
                break;
            }
        }
    }
    assert!(cases > 60 * seconds.len(), "{cases} cases");
}

#[tokio::test]
async fn a_deploy_that_is_cut_off_anywhere_is_deployed_once() {
    matrix(
        deploy(RollbackTo::InPlace, false),
        Outcome::Deployed,
        "2",
        &[None],
    )
    .await;
}

#[tokio::test]
async fn a_rollback_that_is_cut_off_anywhere_brings_the_old_version_back_once() {
    let plan = deploy(RollbackTo::InPlace, true);
    matrix(plan, Outcome::RolledBack, "1", &[None]).await;
}

/// The second cut comes right after the first, or a little later. The short run
/// has it in the matrix of the plan `default` (`matrix::a_bad_app_back_by_git`).
#[tokio::test]
#[ignore = "long run: `cargo xtask test --all`"]
async fn a_rollback_that_is_cut_off_twice_brings_the_old_version_back_once() {
    let seconds = [Some((0, true)), Some((1, false)), Some((3, true))];
    let plan = deploy(RollbackTo::InPlace, true);
    matrix(plan, Outcome::RolledBack, "1", &seconds).await;
}

#[tokio::test]
async fn a_restore_that_is_cut_off_anywhere_is_made_once() {
    let plan = deploy(RollbackTo::Snapshot, true);
    matrix(plan, Outcome::RolledBack, "1", &[None]).await;
}

#[tokio::test]
async fn a_run_that_does_something_else_now_is_not_resumed() {
    let run = Run::new(&deploy(RollbackTo::InPlace, false));
    let mut cut = 1;
    // Until the build has been started and nothing after it.
    while run.target.lock().changes.len() < 2 {
        let fresh = Run::new(&run.plan);
        let store = Arc::new(FailsAfter::over(fresh.store.clone(), cut, true));
        fresh.process(store).await;
        if fresh.target.lock().changes.len() == 2 {
            let other = fresh.as_if_of(&changed(&fresh.plan));
            let (finished, _) = other.process(other.store.clone()).await;
            assert_eq!(finished.outcome, Outcome::Interrupted);
            assert!(
                finished.message.contains("cannot be resumed"),
                "{}",
                finished.message
            );
            assert_eq!(other.target.lock().changes.len(), 2);
            return;
        }
        cut += 1;
    }
}

/// The build is another command.
fn changed(plan: &Plan) -> Plan {
    let steps = plan.steps.iter().map(|known| match known.id.as_str() {
        "build" => step("build", json!({ "run": [exec("other")] })),
        _ => known.clone(),
    });
    let steps: Vec<Step> = steps.collect();
    Plan {
        steps,
        ..plan.clone()
    }
}

#[tokio::test]
async fn a_post_that_may_have_arrived_is_told_and_not_sent_again() {
    let plan = deploy(RollbackTo::InPlace, false);
    let mut told = 0;
    for cut in 1..60 {
        let run = Run::new(&plan);
        let store = Arc::new(FailsAfter::over(run.store.clone(), cut, true));
        run.process(store).await;
        let last = run.journal().last().map(|s| s.entry.clone());
        if !matches!(&last, Some(Entry::Intent { function, .. }) if function == "http.send") {
            continue;
        }
        let (finished, events) = run.process(run.store.clone()).await;
        assert_eq!(finished.outcome, Outcome::Deployed);
        assert_eq!(
            run.target.lock().posts,
            0,
            "it was not sent before and is not now"
        );
        let seen = events.iter().find_map(|event| match event {
            RunEvent::StepFinished {
                step,
                output: Some(output),
                ..
            } if step.as_str() == "deploy" => Some(output["seen"].clone()),
            _ => None,
        });
        assert_eq!(seen.unwrap()[2], Value::from("gate.unanswered"));
        told += 1;
    }
    assert_eq!(told, 1);
}

/// A request whose answer is lost, and whose read-back says whether it arrived.
fn posts_once(read_back: &str) -> Plan {
    let post = json!({ "do": "http", "method": "POST", "url": "https://hooks.example.com/x",
        "read-back": [read_back, "posts: 1."], "try": true });
    plan([step("deploy", json!({ "run": [post] }))])
}

/// Interrupted with the request in doubt, sent before or not, and resumed. How
/// often it arrived, and what the plugin saw.
async fn in_doubt(read_back: &str, arrived: bool) -> (usize, Value) {
    let plan = posts_once(read_back);
    for cut in 1..60 {
        let run = Run::new(&plan);
        let store = Arc::new(FailsAfter::over(run.store.clone(), cut, true));
        run.process(store).await;
        let last = run.journal().last().map(|s| s.entry.clone());
        if !matches!(&last, Some(Entry::Intent { function, .. }) if function == "http.send") {
            continue;
        }
        run.target.lock().posts = usize::from(arrived);
        let (finished, events) = run.process(run.store.clone()).await;
        assert_eq!(finished.outcome, Outcome::Deployed);
        assert_legal(&run.journal(), read_back);
        assert_repeatable(&run, read_back).await;
        let seen = events.iter().find_map(|event| match event {
            RunEvent::StepFinished {
                output: Some(output),
                ..
            } => Some(output["seen"][0].clone()),
            _ => None,
        });
        return (run.target.lock().posts, seen.unwrap());
    }
    panic!("it was never in doubt");
}

#[tokio::test]
async fn a_declared_read_back_settles_a_request_in_doubt() {
    let arrived = json!({ "status": 200, "body": "posts: 1." });
    assert_eq!(in_doubt("/posts", true).await, (1, arrived));
    let sent = json!({ "status": 200, "body": "posts: 1." });
    assert_eq!(in_doubt("/posts", false).await, (1, sent));
    // One that does not tell.
    for arrived in [true, false] {
        let (posts, seen) = in_doubt("/broken", arrived).await;
        assert_eq!(posts, usize::from(arrived), "it was sent all the same");
        assert_eq!(seen, "gate.unanswered");
    }
}

/// It is always the same time, and a sleep ends only if it is to.
#[derive(Debug)]
struct Bed {
    now: u64,
    wakes: bool,
    slept: Mutex<Vec<Duration>>,
    lies: Notify,
}

impl Bed {
    fn at(now: u64, wakes: bool) -> Arc<Self> {
        Arc::new(Self {
            now,
            wakes,
            slept: Mutex::default(),
            lies: Notify::new(),
        })
    }
}

#[async_trait::async_trait]
impl Clock for Bed {
    fn now_unix_ms(&self) -> u64 {
        self.now
    }

    async fn sleep(&self, duration: Duration) {
        self.slept.lock().unwrap().push(duration);
        self.lies.notify_one();
        if !self.wakes {
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::test]
async fn of_a_sleep_that_a_stop_cut_short_the_rest_is_slept() {
    let looks = json!({ "run": [{ "do": "sleep", "ms": 5000 }, { "do": "now" }] });
    let run = Run::new(&plan([step("smoke", looks)]));
    let bed = Bed::at(1, false);
    let stop = async {
        bed.lies.notified().await;
        "a test"
    };
    let stopped = run.process_until(run.store.clone(), bed.clone(), stop);
    let (finished, _) = stopped.await;
    assert_eq!(finished.outcome, Outcome::Interrupted);
    let sleeps = |kind: &str| {
        let of = |entry: &Entry| match entry {
            Entry::Intent { function, .. } => kind == "intent" && function == "clock.sleep-ms",
            Entry::Result { function, .. } => kind == "result" && function == "clock.sleep-ms",
            _ => false,
        };
        let journal = run.journal();
        let found = journal.into_iter().filter(|stored| of(&stored.entry));
        found.map(|stored| stored.at).collect::<Vec<u64>>()
    };
    let began = sleeps("intent")[0];
    assert!(sleeps("result").is_empty(), "it is recorded as slept");
    assert_repeatable(&run, "after the stop").await;

    let bed = Bed::at(began + 2000, true);
    let resumed = run.process_until(run.store.clone(), bed.clone(), std::future::pending());
    let (finished, _) = resumed.await;
    assert_eq!(finished.outcome, Outcome::Deployed);
    assert_eq!(*bed.slept.lock().unwrap(), [Duration::from_millis(3000)]);
    assert_eq!((sleeps("intent").len(), sleeps("result").len()), (1, 1));
    assert_repeatable(&run, "after the resume").await;
}

#[tokio::test]
async fn a_panic_ends_the_run_as_interrupted() {
    let plan = plan([step("deploy", json!({ "run": [exec("panic")] }))]);
    let run = Run::new(&plan);
    let (finished, events) = run.process(run.store.clone()).await;
    assert_eq!(finished.outcome, Outcome::Interrupted);
    assert!(
        finished.message.contains("panicked"),
        "{}",
        finished.message
    );
    assert_eq!(finished.next[0], "vdeploy resume 01RUN");
    let last = events.last();
    assert!(
        matches!(last, Some(RunEvent::RunFinished { exit_code: 40, .. })),
        "{last:?}"
    );
}
