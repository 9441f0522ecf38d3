//! A change is sent only while the run surely holds its target.

use crate::stage::{Stage, scripted};
use serde_json::{Value, json};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use vdeploy_core::capability::leases::{LeaseBackend, LeaseLoss};
use vdeploy_core::event::RunEvent;
use vdeploy_journal::Entry;
use vdeploy_lease::{BootInstant, LeaseValidity};

const LONG: Duration = Duration::from_secs(600);

/// A run that relies on this lease.
fn stage(held: &LeaseValidity) -> Stage {
    let stage = Stage::new().with_snapshot();
    let leases = &stage.shared.world.leases;
    leases.rely_on(LeaseBackend::Target, held.clone());
    stage
}

/// Each kind of change.
fn changes() -> [Value; 4] {
    [
        json!({ "do": "http", "method": "POST", "url": "https://hooks.example.com/x", "try": true }),
        json!({ "do": "exec", "argv": ["echo", "x"], "try": true }),
        json!({ "do": "snapshot", "label": "x", "try": true }),
        json!({ "do": "put", "key": "k", "value": "v", "try": true }),
    ]
}

/// What got out, and whether the journal says that it was to.
fn sent(stage: &Stage) -> (usize, usize) {
    let intents = stage.journal();
    let intents = intents.iter().filter(|e| matches!(e, Entry::Intent { .. }));
    let out = stage.http.requests().len() + stage.commands().len();
    (out, intents.count())
}

#[tokio::test]
async fn nothing_is_sent_after_a_lease_was_lost_and_nothing_is_in_doubt() {
    let plugin = scripted();
    for change in changes() {
        let held = LeaseValidity::default();
        let stage = stage(&held);
        held.renewed(BootInstant::now(), LONG);
        held.lose(LeaseLoss::for_good("run 01B holds it now"));
        let seen = stage.run(&plugin, json!([change, change])).await.unwrap();
        assert_eq!(seen, ["gate.closed", "gate.closed"], "{change}");
        assert_eq!(sent(&stage), (0, 0), "{change}");
        let broken = stage.shared.cancellation.broken().unwrap();
        assert_eq!(broken.message, "the lease was lost: run 01B holds it now");
        assert!(!broken.mendable);
    }
}

/// Until a change says that it waits.
async fn until_it_waits<T: std::fmt::Debug>(
    stage: &Stage,
    mut running: Pin<&mut impl Future<Output = T>>,
) {
    let waits = |event: &RunEvent| matches!(event, RunEvent::Doing { text } if text.contains("still holds the target"));
    let end = Instant::now() + Duration::from_secs(60);
    while !stage.events().iter().any(waits) {
        assert!(Instant::now() < end, "it does not say that it waits");
        let early = timeout(Duration::from_millis(20), &mut running).await;
        assert!(early.is_err(), "{early:?}");
    }
}

#[tokio::test]
async fn a_loss_that_can_be_mended_stays_one_when_a_change_waits() {
    let plugin = scripted();
    for change in changes() {
        let held = LeaseValidity::default();
        let stage = stage(&held);
        let mut running = std::pin::pin!(stage.run(&plugin, json!([change])));
        until_it_waits(&stage, running.as_mut()).await;
        held.lose(LeaseLoss::for_now("the target does not answer"));
        assert_eq!(running.await.unwrap(), ["gate.closed"], "{change}");
        assert_eq!(sent(&stage), (0, 0), "{change}");
        // The watch of the keeper is told later.
        stage.shared.cancellation.break_off("too late");
        let broken = stage.shared.cancellation.broken().unwrap();
        assert!(broken.mendable, "{broken:?}");
    }
}

#[tokio::test]
async fn a_change_that_waits_hears_a_stop() {
    let plugin = scripted();
    for change in changes() {
        let stage = stage(&LeaseValidity::default());
        let mut running = std::pin::pin!(stage.run(&plugin, json!([change])));
        until_it_waits(&stage, running.as_mut()).await;
        stage.shared.cancellation.cancel();
        assert_eq!(running.await.unwrap(), ["gate.cancelled"], "{change}");
        assert_eq!(sent(&stage), (0, 0), "{change}");
    }
}

#[tokio::test]
async fn a_change_waits_until_the_lease_is_known_to_be_held_and_a_probe_does_not() {
    let plugin = scripted();
    let held = LeaseValidity::default();
    let stage = stage(&held);
    // Held for so long that it has run out: the machine was asleep.
    held.renewed(BootInstant::now(), Duration::ZERO);
    let probe = json!([{ "do": "http", "method": "GET", "url": "/version" }]);
    stage.run(&plugin, probe).await.unwrap();
    assert_eq!(stage.http.requests().len(), 1);
    let [post, exec, ..] = changes();
    let both = json!([post, exec]);
    let running = stage.run(&plugin, both);
    let mut running = std::pin::pin!(running);
    until_it_waits(&stage, running.as_mut()).await;
    assert_eq!(sent(&stage), (1, 0), "it was sent while nobody knew");
    held.renewed(BootInstant::now(), LONG);
    running.await.unwrap();
    assert_eq!(sent(&stage), (3, 2));
}

#[tokio::test]
async fn at_its_deadline_a_step_has_waited_long_enough() {
    let plugin = scripted();
    let stage = stage(&LeaseValidity::default());
    let [post, ..] = changes();
    let config = json!({ "run": [post] });
    // The plugin is made ready in it as well.
    let within = Duration::from_secs(5);
    let phase = vdeploy_core::event::Phase::Run;
    let returned = stage.call_within(&plugin, phase, config, within).await;
    let seen = returned.result.unwrap()["seen"].clone();
    assert_eq!(seen, json!(["gate.deadline"]));
    assert_eq!(sent(&stage), (0, 0));
}
