//! Single calls: shapes, statuses, retries.

use super::fake::{Fake, Fault, KEY, vm};
use crate::{PowerState, VersClient, VersError, VmState};
use serde_json::json;
use std::time::Duration;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::capability::leases::{LeaseBackend, LeaseLoss};
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::capability::snapshot::NoProgress;
use vdeploy_lease::{BootInstant, LeaseValidity};

#[tokio::test]
async fn vms_are_listed_and_looked_at_whatever_their_states_are_called() {
    let fake = Fake::start().await;
    let states = ["RUNNING", "Paused", "not_started"];
    for (n, state) in states.iter().enumerate() {
        fake.cloud
            .lock()
            .unwrap()
            .add_vm(&format!("x{n}"), state, None);
    }
    fake.cloud.lock().unwrap().vms.push(json!({"vm_id": "old"}));
    let c = fake.client();
    let listed: Vec<VmState> = c
        .vms()
        .await
        .unwrap()
        .into_iter()
        .map(|v| v.state)
        .collect();
    assert_eq!(
        listed,
        [
            VmState::Running,
            VmState::Running,
            VmState::Paused,
            VmState::Other("not_started".into()),
            VmState::Unknown,
        ]
    );
    assert_eq!(c.status(&vm("vm-1")).await.unwrap().vm_id, vm("vm-1"));
}

#[tokio::test]
async fn the_other_list_path_is_tried() {
    let fake = Fake::start().await;
    fake.fault("GET /vms", Fault::Answers(404, ""));
    fake.fault("GET /vm", Fault::Answers(200, r#"[{"vm_id":"a"}]"#));
    assert_eq!(fake.client().vms().await.unwrap()[0].vm_id, vm("a"));
}

#[tokio::test]
async fn a_bad_key_is_told_from_what_is_not_ours() {
    let fake = Fake::start().await;
    let mut config = fake.config();
    config.api_key = SecretValue::new("wrong".into());
    let error = VersClient::new(&config).unwrap().vms().await.unwrap_err();
    assert!(
        matches!(error, VersError::Key { status: 403, .. }),
        "{error}"
    );
    fake.fault("GET /vms", Fault::Answers(401, ""));
    let error = fake.client().vms().await.unwrap_err();
    assert!(
        matches!(error, VersError::Key { status: 401, .. }),
        "{error}"
    );
    fake.fault(
        "GET /vm/",
        Fault::Answers(403, r#"{"error":"Forbidden","success":false}"#),
    );
    let error = fake.client().status(&vm("x")).await.unwrap_err();
    assert!(matches!(error, VersError::NotYours { .. }), "{error}");
}

#[tokio::test]
async fn reads_are_tried_again_and_other_refusals_are_not() {
    let fake = Fake::start().await;
    let c = fake.client();
    fake.fault("GET /vms", Fault::Answers(503, "<html>down</html>"));
    fake.fault("GET /vms", Fault::Drops);
    fake.fault("GET /vms", Fault::Busy);
    c.vms().await.unwrap();
    assert_eq!(fake.count("GET /vms"), 4);
    fake.fault(
        "GET /vm/",
        Fault::Answers(422, r#"{"error":"no","success":false}"#),
    );
    c.status(&vm("vm-1")).await.unwrap_err();
    assert_eq!(fake.count("GET /vm/"), 1);
    fake.fault("PATCH", Fault::Answers(503, ""));
    c.set_state(&vm("vm-1"), PowerState::Running)
        .await
        .unwrap_err();
    assert_eq!(fake.count("PATCH"), 1);
}

/// A VM that is frozen cannot say who holds it: who was asleep meanwhile lets it
/// go on first. Anything else waits.
#[tokio::test]
async fn a_vm_is_woken_while_only_the_store_knows_who_holds_it() {
    let fake = Fake::start().await;
    let (store, target) = (LeaseValidity::default(), LeaseValidity::default());
    let config = fake.config();
    config.leases.rely_on(LeaseBackend::Store, store.clone());
    config.leases.rely_on(LeaseBackend::Target, target.clone());
    let c = VersClient::new(&config).unwrap();
    store.renewed(BootInstant::now(), Duration::from_secs(600));
    c.set_state(&vm("vm-1"), PowerState::Running).await.unwrap();
    assert_eq!(fake.count("PATCH"), 1);
    target.lose(LeaseLoss::for_now("the target does not answer"));
    let error = c.set_state(&vm("vm-1"), PowerState::Paused).await;
    assert!(matches!(error, Err(VersError::Fenced { begun: false, .. })));
    c.set_state(&vm("vm-1"), PowerState::Running).await.unwrap();
    assert_eq!(fake.count("PATCH"), 2);
    store.lose(LeaseLoss::for_good("run 01B holds it now"));
    let error = c.set_state(&vm("vm-1"), PowerState::Running).await;
    assert!(matches!(error, Err(VersError::Fenced { begun: false, .. })));
    assert_eq!(fake.count("PATCH"), 2);
}

#[tokio::test]
async fn messages_hold_a_short_excerpt_without_the_key() {
    let fake = Fake::start().await;
    let long = format!("<html>{KEY} {}</html>", "x ".repeat(500));
    fake.fault("GET /vm/", Fault::Answers(422, long.leak()));
    let error = fake
        .client()
        .status(&vm("vm-1"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        !error.contains("s3cr3tkey") && error.contains("***"),
        "{error}"
    );
    assert!(
        error.len() < 400 && error.contains("status of VM vm-1: status 422"),
        "{error}"
    );
}

#[tokio::test]
async fn a_success_that_is_no_json_is_an_error_that_says_so() {
    let fake = Fake::start().await;
    fake.fault("GET /vms", Fault::Answers(200, "welcome"));
    let error = fake.client().vms().await.unwrap_err();
    assert!(matches!(error, VersError::Answer { .. }), "{error}");
    fake.fault(
        "GET /vm/",
        Fault::Answers(200, r#"{"k":"-----BEGIN OPENSSH PRIVATE KEY-----"}"#),
    );
    let error = fake
        .client()
        .ssh_key(&vm("vm-1"))
        .await
        .unwrap_err()
        .to_string();
    assert!(!error.contains("BEGIN"), "{error}");
}

#[tokio::test]
async fn an_api_that_is_not_there_is_unreachable_and_nothing_was_done() {
    let fake = Fake::start().await;
    let mut config = fake.config();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.base_url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let c = VersClient::new(&config).unwrap();
    let error = c
        .commit(&vm("vm-1"), "n", "d", &NoProgress)
        .await
        .unwrap_err();
    assert!(
        !error.maybe_applied() && error.kind() == ErrorKind::Unavailable,
        "{error}"
    );
}

#[tokio::test]
async fn pausing_falls_back_to_the_other_word() {
    let fake = Fake::start().await;
    fake.cloud.lock().unwrap().state_words = vec!["Sleeping", "Running"];
    let c = fake.client();
    c.set_state(&vm("vm-1"), PowerState::Paused).await.unwrap();
    assert_eq!(
        c.status(&vm("vm-1")).await.unwrap().state,
        VmState::Sleeping
    );
}

#[tokio::test]
async fn a_branch_answers_in_either_form() {
    let fake = Fake::start().await;
    let c = fake.client();
    fake.fault("POST", Fault::Answers(201, r#"{"vm_id":"a"}"#));
    assert_eq!(c.branch("vm-1", 1).await.unwrap(), [vm("a")]);
    fake.fault(
        "POST",
        Fault::Answers(201, r#"{"vms":[{"vm_id":"a"},{"vm_id":"b"}]}"#),
    );
    assert_eq!(c.branch("vm-1", 2).await.unwrap(), [vm("a"), vm("b")]);
    fake.fault("POST", Fault::Answers(201, r#"{"vms":[],"error":"no"}"#));
    c.branch("vm-1", 1).await.unwrap_err();
}

#[tokio::test]
async fn deleting_looks_first_and_never_deletes_the_unknown() {
    let fake = Fake::start().await;
    let c = fake.client();
    let error = c.delete(&vm("nobody")).await.unwrap_err();
    assert!(matches!(error, VersError::NotFound { .. }), "{error}");
    assert_eq!(fake.count("DELETE"), 0);
    c.delete(&vm("vm-1")).await.unwrap();
    assert!(c.vms().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_id_cannot_lead_to_another_path() {
    let fake = Fake::start().await;
    fake.client().status(&vm("../../x?y#z")).await.unwrap_err();
    let seen = fake.cloud.lock().unwrap().seen[0].0.clone();
    assert_eq!(seen, "GET /vm/..%2F..%2Fx%3Fy%23z/status?");
}

#[tokio::test]
async fn a_commit_is_known_or_not() {
    let fake = Fake::start().await;
    fake.cloud
        .lock()
        .unwrap()
        .add_commit("vm-1", &json!({}), &super::fake::now());
    let c = fake.client();
    assert!(c.has_commit(&"commit-1".into()).await.unwrap());
    assert!(!c.has_commit(&"commit-9".into()).await.unwrap());
    fake.fault("GET /vm/commits", Fault::Answers(400, "not a UUID"));
    assert!(!c.has_commit(&"x".into()).await.unwrap());
    fake.fault("GET /vm/commits", Fault::Answers(401, ""));
    c.has_commit(&"x".into()).await.unwrap_err();
}

#[tokio::test]
async fn every_page_of_commits_is_read_also_from_a_server_that_cannot_page() {
    let fake = Fake::start().await;
    for _ in 0..230 {
        fake.cloud
            .lock()
            .unwrap()
            .add_commit("vm-1", &json!({}), &super::fake::now());
    }
    let c = fake.client();
    assert_eq!(c.commits().await.unwrap().len(), 230);
    let page = r#"{"commits":[{"commit_id":"a"},{"commit_id":"b"}]}"#;
    fake.fault("GET /commits", Fault::Answers(200, page));
    fake.fault("GET /commits", Fault::Answers(200, page));
    assert_eq!(c.commits().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_look_without_an_answer_is_asked_once_more_and_a_change_is_not() {
    let fake = Fake::start().await;
    fake.cloud.lock().unwrap().add_vm("vm-1", "running", None);
    let mut config = fake.config();
    config.call_timeout = Duration::from_secs(2);
    let c = VersClient::new(&config).unwrap();
    fake.fault("GET", Fault::HangsAfter);
    c.status(&vm("vm-1")).await.unwrap();
    assert_eq!(fake.count("GET"), 2);
    for _ in 0..2 {
        fake.fault("GET", Fault::HangsAfter);
    }
    let error = c.status(&vm("vm-1")).await.unwrap_err();
    assert!(matches!(error, VersError::Timeout { .. }), "{error}");
    assert_eq!(fake.count("GET"), 4);
    fake.fault("PATCH", Fault::HangsAfter);
    let paused = c.set_state(&vm("vm-1"), PowerState::Paused).await;
    assert!(matches!(paused, Err(VersError::Timeout { .. })));
    assert_eq!(fake.count("PATCH"), 1);
}
