//! What a run relies on when taking the lease on the target comes to nothing.

use super::*;
use async_trait::async_trait;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc::unbounded_channel;
use vdeploy_core::actor::Actor;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::ssh::{Command, JobId, LiveOutput, Output, Ssh};
use vdeploy_core::capability::{EffectError, ErrorKind, World};
use vdeploy_core::target::TargetHandle;
use vdeploy_journal::SqliteStore;
use vdeploy_lease::LeaseTimes;
use vdeploy_lease::process::doubles::{dead_pid, elsewhere, with_pid};
use vdeploy_lease::renew::Absence;

/// A target that gives its lease to whoever asks; the run before it left
/// something there that does not end, if so.
#[derive(Debug, Default)]
struct Target {
    stubborn: bool,
    /// Who has it, until that lease is broken.
    held_by: Mutex<Option<Actor>>,
}

#[async_trait]
impl Ssh for Target {
    async fn connect(&self) -> Result<(), EffectError> {
        Ok(())
    }
    async fn run(&self, command: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        let answer = match command.args.get(2).map(String::as_str) {
            Some("take") => match &*self.held_by.lock().unwrap() {
                Some(who) => &format!("held 01KILLED 1 20\n{}\n", who.to_line()),
                None => "taken 2 01KILLED\n",
            },
            Some("break") => {
                *self.held_by.lock().unwrap() = None;
                "broken\n"
            }
            Some("renew") => "renewed\n",
            Some("settle") => "settled\n",
            Some("release") => "released\n",
            asked => panic!("{asked:?}"),
        };
        Ok(Output {
            exit_code: Some(0),
            stdout: answer.into(),
            ..Output::default()
        })
    }
    async fn end_jobs_of(&self, run: &RunId) -> Result<Vec<JobId>, EffectError> {
        let message = format!("a command of run {run} survives KILL");
        match self.stubborn {
            true => Err(EffectError::new(ErrorKind::Failed, "ssh.job", message)),
            false => Ok(Vec::new()),
        }
    }
    async fn close(&self) {}
}

fn run_on(target: Target) -> (Claim, Arc<RunShared>) {
    let handle = TargetHandle::vers("infra".into(), "one".into(), "https://{vm}");
    let store = Arc::new(SqliteStore::in_memory().unwrap());
    let ssh: Arc<dyn Ssh> = Arc::new(target);
    let world = World {
        ssh: ssh.clone(),
        ..World::offline(handle.clone(), 1)
    };
    let masker = Arc::new(Masker::new([]).unwrap());
    let (events, _) = unbounded_channel();
    let run = RunId::from("01NEW");
    let shared = RunShared::new(run.clone(), world, masker, false, store, events);
    let claim = Claim {
        ssh,
        target: handle,
        run,
        who: "me".into(),
        ttl: LeaseTimes::default().on_target,
        absence: Absence::Tolerated,
    };
    (claim, Arc::new(shared))
}

#[tokio::test]
async fn a_lease_that_was_given_back_before_the_run_relied_on_it_stops_no_change() {
    let (claim, shared) = run_on(Target {
        stubborn: true,
        ..Target::default()
    });
    let mut wait = Wait::start(Duration::ZERO);
    let (outcome, why) = take(&claim, &shared, &mut wait, &|_| None)
        .await
        .unwrap_err();
    assert_eq!(outcome, Outcome::Unreachable);
    assert!(why.contains("01KILLED survives KILL"), "{why}");
    // The way back to a snapshot goes on without that VM.
    let lease = after_a_move(claim, &shared);
    assert_eq!(shared.world.leases.loss(), None);
    assert!(shared.world.leases.are_valid());
    assert!(!shared.cancellation.is_broken());
    lease.end().await;
}

#[tokio::test]
async fn a_lease_that_was_taken_is_relied_on() {
    let (claim, shared) = run_on(Target::default());
    let mut wait = Wait::start(Duration::ZERO);
    let lease = take(&claim, &shared, &mut wait, &|_| None).await.unwrap();
    let leases = shared.world.leases.clone();
    assert_eq!(leases.loss(), None);
    lease.end().await;
    let lost = leases.loss().map(|lost| lost.why);
    assert_eq!(lost.as_deref(), Some("it was given back"));
}

#[tokio::test]
async fn only_the_lease_of_a_dead_process_that_is_taken_over_from_is_broken() {
    let gone = with_pid(dead_pid());
    let here = with_pid(std::process::id());
    let takes_over = |run: &RunId| (run.as_str() == "01KILLED").then_some("it is gone");
    for (who, asks, taken) in [
        (&gone, true, true),
        (&gone, false, false),
        (&here, true, false),
        (&elsewhere(1), true, false),
    ] {
        let (claim, shared) = run_on(Target {
            held_by: Mutex::new(Some(who.clone())),
            ..Target::default()
        });
        let mut wait = Wait::start(Duration::ZERO);
        let takes_over = |run: &RunId| takes_over(run).filter(|_| asks);
        match take(&claim, &shared, &mut wait, &takes_over).await {
            Ok(lease) => {
                assert!(taken, "{who}");
                lease.end().await;
            }
            Err((outcome, why)) => {
                assert!(!taken && outcome == Outcome::Held, "{who}: {why}");
            }
        }
    }
}
