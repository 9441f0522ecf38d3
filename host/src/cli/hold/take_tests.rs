//! What a run relies on when taking the lease on the target comes to nothing.

use super::*;
use crate::capability::clock::SystemClock;
use crate::capability::doubles::{DenyHttp, DenySecrets, DenySnapshot};
use crate::capability::mask::Masker;
use crate::capability::ssh::{Command, JobId, LiveOutput, Output, Ssh};
use crate::capability::{EffectError, ErrorKind, World};
use crate::cli::wait::WaitArgs;
use crate::journal::{SqliteStore, StoreState};
use crate::run::target_lease::Absence;
use crate::target::TargetHandle;
use async_trait::async_trait;
use tokio::sync::mpsc::unbounded_channel;

/// A target that gives its lease to whoever asks; the run before it left
/// something there that does not end, if so.
#[derive(Debug)]
struct Target {
    stubborn: bool,
}

#[async_trait]
impl Ssh for Target {
    async fn connect(&self) -> Result<(), EffectError> {
        Ok(())
    }
    async fn run(&self, command: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        let answer = match command.args.get(2).map(String::as_str) {
            Some("take") => "taken 2 01KILLED\n",
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
        leases: Default::default(),
        clock: Arc::new(SystemClock),
        http: Arc::new(DenyHttp),
        ssh: ssh.clone(),
        snapshot: Arc::new(DenySnapshot),
        secrets: Arc::new(DenySecrets),
        state: Arc::new(StoreState::new(store.clone())),
        target: handle.clone(),
    };
    let masker = Arc::new(Masker::new([]).unwrap());
    let (events, _) = unbounded_channel();
    let run = RunId::from("01NEW");
    let shared = RunShared::new(run.clone(), world, masker, false, store, events);
    let claim = Claim {
        ssh,
        target: handle,
        run,
        who: "me".to_owned(),
        ttl: target_lease::TTL,
        absence: Absence::Tolerated,
    };
    (claim, Arc::new(shared))
}

#[tokio::test]
async fn a_lease_that_was_given_back_before_the_run_relied_on_it_stops_no_change() {
    let (claim, shared) = run_on(Target { stubborn: true });
    let mut wait = Wait::start(WaitArgs::default());
    let (outcome, why) = take(&claim, &shared, &mut wait).await.unwrap_err();
    assert_eq!(outcome, Outcome::Unreachable);
    assert!(why.contains("01KILLED survives KILL"), "{why}");
    // The way back to a snapshot goes on without that VM.
    let lease = after_a_move(claim, &shared);
    assert_eq!(shared.world.leases.lost(), None);
    assert!(shared.world.leases.are_sure());
    assert!(shared.broken().is_none());
    lease.end().await;
}

#[tokio::test]
async fn a_lease_that_was_taken_is_relied_on() {
    let (claim, shared) = run_on(Target { stubborn: false });
    let mut wait = Wait::start(WaitArgs::default());
    let lease = take(&claim, &shared, &mut wait).await.unwrap();
    let leases = shared.world.leases.clone();
    assert_eq!(leases.lost(), None);
    lease.end().await;
    let lost = leases.lost().map(|lost| lost.why);
    assert_eq!(lost.as_deref(), Some("it was given back"));
}
