//! A commit or restore whose answer is lost is found again and never repeated.

use super::fake::{Fake, Fault, vm};
use crate::{VersClient, VersError};
use serde_json::json;
use std::time::Duration;
use vdeploy_core::capability::snapshot::NoProgress;

fn faults_after() -> [Fault; 7] {
    [
        Fault::DropsAfter,
        Fault::LaterAfter,
        Fault::AnswersAfter(500, "oops"),
        Fault::AnswersAfter(503, "later"),
        Fault::AnswersAfter(504, "gateway timeout"),
        Fault::AnswersAfter(502, "bad gateway"),
        Fault::AnswersAfter(201, "created, but not in JSON"),
    ]
}

#[tokio::test]
async fn a_commit_without_an_answer_is_found_and_not_made_twice() {
    for fault in faults_after() {
        let fake = Fake::start().await;
        let other = json!({"name": "n", "description": "run 1: other"});
        fake.cloud
            .lock()
            .unwrap()
            .add_commit("vm-1", &other, &super::fake::now());
        fake.fault("POST", fault.clone());
        let id = fake
            .client()
            .commit(&vm("vm-1"), "n", "run 1: pre", &NoProgress)
            .await
            .unwrap();
        assert_eq!(id.as_str(), "commit-2", "{fault:?}");
        assert_eq!(fake.count("POST"), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_commit_that_takes_too_long_is_found() {
    let fake = Fake::start().await;
    fake.fault("POST", Fault::HangsAfter);
    let mut config = fake.config();
    config.commit_timeout = Duration::from_millis(300);
    let c = VersClient::new(&config).unwrap();
    c.commit(&vm("vm-1"), "n", "run 1: pre", &NoProgress)
        .await
        .unwrap();
    assert_eq!(fake.count("POST"), 1);
}

#[tokio::test]
async fn a_commit_that_is_not_found_is_in_doubt_and_similar_ones_do_not_count() {
    let fake = Fake::start().await;
    let ours = json!({"name": "n", "description": "run 1: pre"});
    {
        let mut cloud = fake.cloud.lock().unwrap();
        cloud.add_commit("vm-2", &ours, &super::fake::now());
        cloud.add_commit("vm-1", &ours, "2020-01-01T00:00:00Z");
        let longer = json!({"name": "n", "description": "run 1: pre-deploy"});
        cloud.add_commit("vm-1", &longer, &super::fake::now());
    }
    fake.fault("POST", Fault::Drops);
    let mut config = fake.config();
    config.reconcile_for = Duration::from_millis(300);
    let c = VersClient::new(&config).unwrap();
    let error = c
        .commit(&vm("vm-1"), "n", "run 1: pre", &NoProgress)
        .await
        .unwrap_err();
    assert!(matches!(error, VersError::InDoubt { .. }), "{error}");
    assert!(error.maybe_applied());
    assert_eq!(fake.count("POST"), 1);
    assert!(
        fake.count("GET /commits") > 1,
        "it is looked for more than once"
    );
}

#[tokio::test]
async fn a_refused_commit_is_not_looked_for() {
    let fake = Fake::start().await;
    fake.fault(
        "POST",
        Fault::Answers(404, r#"{"error":"no vm","success":false}"#),
    );
    let error = fake
        .client()
        .commit(&vm("x"), "n", "d", &NoProgress)
        .await
        .unwrap_err();
    assert!(!error.maybe_applied());
    assert_eq!(fake.count("GET"), 0);
}

#[tokio::test]
async fn a_restore_without_an_answer_finds_its_vm() {
    for fault in faults_after() {
        let fake = Fake::start().await;
        fake.cloud
            .lock()
            .unwrap()
            .add_vm("earlier", "running", Some("c"));
        fake.fault("POST", fault.clone());
        let id = fake
            .client()
            .restore(&"c".into(), &NoProgress)
            .await
            .unwrap();
        assert_eq!(id.as_str(), "restored-2", "{fault:?}");
        assert_eq!(fake.count("POST"), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_restore_that_left_nothing_is_in_doubt() {
    let fake = Fake::start().await;
    fake.fault("POST", Fault::Drops);
    let mut config = fake.config();
    config.reconcile_for = Duration::from_millis(300);
    let c = VersClient::new(&config).unwrap();
    let error = c.restore(&"c".into(), &NoProgress).await.unwrap_err();
    assert!(error.maybe_applied(), "{error}");
    assert_eq!(fake.count("POST"), 1);
}

#[tokio::test]
async fn what_is_surely_refused_for_now_is_asked_again_and_what_stays_refused_is_not() {
    let fake = Fake::start().await;
    let c = fake.client();
    fake.fault("POST", Fault::Busy);
    c.commit(&vm("vm-1"), "n", "d", &NoProgress).await.unwrap();
    assert_eq!(fake.count("POST"), 2, "429 was not done");
    for (status, body) in [
        (409, r#"{"error":"commit in use","success":false}"#),
        (429, r#"{"error":"VM quota exceeded","success":false}"#),
        (403, r#"{"error":"limit reached: 10 VMs","success":false}"#),
    ] {
        let before = fake.count("POST");
        fake.fault("POST", Fault::Answers(status, body));
        let error = c.restore(&"c".into(), &NoProgress).await.unwrap_err();
        assert!(!error.maybe_applied(), "{error}");
        assert_eq!(fake.count("POST"), before + 1, "{error}");
        let is_quota = matches!(error, VersError::Quota { .. });
        assert_eq!(is_quota, status != 409, "{error}");
    }
}
