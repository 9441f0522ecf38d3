//! One test for each point on which what is known of the platform disagrees
//! with itself, as far as it is about the API. docs/vers-platform.md has the
//! list.

use super::fake::{Fake, Fault, KEY, now, vm};
use crate::{PowerState, VersClient, VersError, VmState};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::capability::snapshot::NoProgress;

const FORBIDDEN: &str = r#"{"error":"Forbidden","success":false}"#;

fn impatient(fake: &Fake) -> VersClient {
    let mut config = fake.config();
    config.reconcile_for = Duration::from_millis(300);
    VersClient::new(&config).unwrap()
}

#[tokio::test]
async fn c01_the_base_url_may_end_in_the_api_path() {
    let fake = Fake::start().await;
    let root = format!("http://api.localhost:{}", fake.address.port());
    for end in ["", "/", "/api/v1", "/api/v1/"] {
        let mut config = fake.config();
        config.base_url = format!("{root}{end}");
        VersClient::new(&config).unwrap().vms().await.unwrap();
    }
    assert_eq!(fake.count("GET /vms"), 4);
}

#[tokio::test]
async fn c02_a_file_of_another_tool_is_not_sent_as_the_key() {
    let fake = Fake::start().await;
    for (text, says) in [
        (r#"{"apiKey":"k","email":"e"}"#, "jq -r .apiKey ~/.versrc"),
        ("two words", "the key alone"),
        ("line\nbreak", "the key alone"),
    ] {
        let mut config = fake.config();
        config.api_key = SecretValue::new(text.to_owned());
        let error = VersClient::new(&config).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains(text), "{error}");
    }
    let mut config = fake.config();
    config.api_key = SecretValue::new(KEY.to_owned());
    VersClient::new(&config).unwrap().vms().await.unwrap();
}

#[tokio::test]
async fn c03_no_header_is_relied_on_to_make_a_call_once() {
    let fake = Fake::start().await;
    fake.fault("POST", Fault::DropsAfter);
    let c = fake.client();
    c.commit(&vm("vm-1"), "n", "run 1: pre", &NoProgress)
        .await
        .unwrap();
    fake.fault("POST", Fault::DropsAfter);
    c.restore(&"commit-1".into(), &NoProgress).await.unwrap();
    let cloud = fake.cloud.lock().unwrap();
    assert_eq!(cloud.idempotent_calls, 0);
    assert_eq!((cloud.commits.len(), cloud.vms.len()), (1, 2));
}

#[tokio::test]
async fn c04_the_list_of_vms_is_at_either_path() {
    for missing in [404, 405] {
        let fake = Fake::start().await;
        fake.client().vms().await.unwrap();
        assert_eq!(fake.count("GET /vm?"), 0);
        fake.fault("GET /vms", Fault::Answers(missing, "no such path"));
        fake.fault("GET /vm", Fault::Answers(200, r#"[{"vm_id":"a"}]"#));
        assert_eq!(fake.client().vms().await.unwrap()[0].vm_id, vm("a"));
    }
}

#[tokio::test]
async fn c05_a_commit_is_taken_with_a_body_and_where_that_is_refused_without() {
    let fake = Fake::start().await;
    let c = fake.client();
    c.commit(&vm("vm-1"), "n", "run 1: a", &NoProgress)
        .await
        .unwrap();
    let sent = fake.cloud.lock().unwrap().seen[0].1.clone();
    assert_eq!(sent, json!({"name": "n", "description": "run 1: a"}));

    fake.cloud.lock().unwrap().refuses_fields = true;
    c.commit(&vm("vm-1"), "n", "run 1: b", &NoProgress)
        .await
        .unwrap();
    let cloud = fake.cloud.lock().unwrap();
    assert_eq!(cloud.seen[2].1, json!({}));
    assert_eq!((cloud.count("POST"), cloud.commits.len()), (3, 2));
}

#[tokio::test]
async fn c05_a_commit_without_a_mark_is_found_where_the_server_keeps_none() {
    let fake = Fake::start().await;
    fake.cloud.lock().unwrap().forgets_fields = true;
    fake.cloud
        .lock()
        .unwrap()
        .add_commit("vm-1", &Value::Null, "2020-01-01T00:00:00Z");
    let c = impatient(&fake);
    // An answer tells the platform's clock.
    c.vms().await.unwrap();
    fake.fault("POST", Fault::DropsAfter);
    let id = c
        .commit(&vm("vm-1"), "n", "run 1: a", &NoProgress)
        .await
        .unwrap();
    assert_eq!(id.as_str(), "commit-2");

    // Where marks are kept, one without can be anybody's.
    fake.cloud
        .lock()
        .unwrap()
        .add_commit("vm-9", &json!({"name": "other"}), &now());
    fake.fault("POST", Fault::DropsAfter);
    let error = c
        .commit(&vm("vm-1"), "n", "run 1: b", &NoProgress)
        .await
        .unwrap_err();
    assert!(matches!(error, VersError::InDoubt { .. }), "{error}");
    assert!(error.to_string().contains("commit-4"), "{error}");
    assert_eq!(fake.count("POST"), 2);
}

#[tokio::test]
async fn c06_a_commit_id_is_only_passed_on() {
    let fake = Fake::start().await;
    let c = fake.client();
    for id in [
        "4b1c9a52-0000-4000-8000-000000000000",
        "sha256-9f86d081884c7d65",
    ] {
        let body = format!(r#"{{"commit_id":"{id}"}}"#);
        fake.fault("POST", Fault::Answers(201, body.leak()));
        let made = c.commit(&vm("vm-1"), "n", "d", &NoProgress).await.unwrap();
        assert_eq!(made.as_str(), id);
        c.restore(&made, &NoProgress).await.unwrap();
        let sent = fake.cloud.lock().unwrap().seen.last().unwrap().1.clone();
        assert_eq!(sent, json!({ "commit_id": id }));
    }
}

#[tokio::test]
async fn c08_every_page_is_read_with_and_without_a_total() {
    let fake = Fake::start().await;
    for _ in 0..120 {
        fake.cloud
            .lock()
            .unwrap()
            .add_commit("vm-1", &json!({}), &now());
    }
    assert_eq!(fake.client().commits().await.unwrap().len(), 120);
    assert_eq!(
        fake.count("GET /commits"),
        3,
        "no total: until a page is empty"
    );
    let page = r#"{"commits":[{"commit_id":"a"}],"total":1,"limit":100,"offset":0}"#;
    fake.fault("GET /commits", Fault::Answers(200, page));
    assert_eq!(fake.client().commits().await.unwrap().len(), 1);
    assert_eq!(fake.count("GET /commits"), 4, "a total: no page too many");
}

#[tokio::test]
async fn c09_a_commit_is_looked_up_by_its_parents_and_never_deleted() {
    let fake = Fake::start().await;
    fake.cloud
        .lock()
        .unwrap()
        .add_commit("vm-1", &json!({}), &now());
    let c = fake.client();
    assert!(c.has_commit(&"commit-1".into()).await.unwrap());
    assert!(!c.has_commit(&"commit-9".into()).await.unwrap());
    assert_eq!(fake.count("GET /vm/commits/"), 2);
    assert_eq!(fake.count("GET /commits/") + fake.count("DELETE"), 0);
}

#[tokio::test]
async fn c10_a_commit_is_never_published() {
    let fake = Fake::start().await;
    let c = fake.client();
    let id = c.commit(&vm("vm-1"), "n", "d", &NoProgress).await.unwrap();
    c.restore(&id, &NoProgress).await.unwrap();
    let cloud = fake.cloud.lock().unwrap();
    assert!(
        cloud
            .seen
            .iter()
            .all(|(_, body)| body.get("is_public").is_none())
    );
    let sharing = ["PATCH /commits", "POST /repositories", "POST /commit_tags"];
    assert_eq!(sharing.map(|call| cloud.count(call)), [0, 0, 0]);
}

#[tokio::test]
async fn c11_new_vms_are_told_in_either_form() {
    let fake = Fake::start().await;
    let c = fake.client();
    for body in [r#"{"vm_id":"a"}"#, r#"{"vms":[{"vm_id":"a"}]}"#] {
        fake.fault("POST", Fault::Answers(201, body));
        assert_eq!(c.branch("vm-1", 1).await.unwrap(), [vm("a")]);
        fake.fault("POST", Fault::Answers(201, body));
        assert_eq!(c.restore(&"c".into(), &NoProgress).await.unwrap(), vm("a"));
    }
}

#[tokio::test]
async fn c12_deleting_what_is_not_there_is_no_error_of_the_key() {
    let fake = Fake::start().await;
    let c = fake.client();
    let error = c.delete(&vm("nobody")).await.unwrap_err();
    assert!(matches!(error, VersError::NotFound { .. }), "{error}");
    assert_eq!(fake.count("DELETE"), 0);
    // It went between the look and the call.
    fake.fault("DELETE", Fault::Answers(403, FORBIDDEN));
    let error = c.delete(&vm("vm-1")).await.unwrap_err();
    assert!(matches!(error, VersError::NotYours { .. }), "{error}");
}

#[tokio::test]
async fn c13_pausing_falls_back_to_the_other_word() {
    for words in [["Paused", "Running"], ["Sleeping", "Running"]] {
        let fake = Fake::start().await;
        fake.cloud.lock().unwrap().state_words = words.to_vec();
        let c = fake.client();
        c.set_state(&vm("vm-1"), PowerState::Paused).await.unwrap();
        let state = c.status(&vm("vm-1")).await.unwrap().state;
        assert_eq!(state.to_string(), words[0].to_lowercase());
        c.set_state(&vm("vm-1"), PowerState::Running).await.unwrap();
        assert_eq!(c.status(&vm("vm-1")).await.unwrap().state, VmState::Running);
    }
}

#[tokio::test]
async fn c14_states_are_read_in_any_case_and_unknown_ones_are_not_ready() {
    let fake = Fake::start().await;
    let c = fake.client();
    for (text, state) in [
        ("running", VmState::Running),
        ("Running", VmState::Running),
        ("PAUSED", VmState::Paused),
        ("Stopped", VmState::Other("Stopped".into())),
        ("not_started", VmState::Other("not_started".into())),
    ] {
        fake.cloud.lock().unwrap().vm("vm-1").unwrap()["state"] = text.into();
        assert_eq!(c.status(&vm("vm-1")).await.unwrap().state, state);
    }
    let limit = Duration::from_millis(200);
    let error = c
        .wait_running(&vm("vm-1"), limit, &NoProgress)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it is not_started"), "{error}");
}

#[test]
fn c18_c19_the_exec_api_is_not_used() {
    fn scan(dir: &Path, files: &mut usize) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "tests" {
                    scan(&path, files);
                }
                continue;
            }
            *files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            for word in ["\"exec\"", "/exec", "exec/stream"] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
    let mut files = 0;
    scan(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    assert!(files > 5);
}

#[tokio::test]
async fn c20_a_bad_key_is_401_or_403_in_text_and_403_in_json_is_not_yours() {
    let fake = Fake::start().await;
    let c = fake.client();
    for (status, body) in [
        (401, ""),
        (401, FORBIDDEN),
        (403, "403 Forbidden"),
        (403, ""),
    ] {
        fake.fault("GET", Fault::Answers(status, body));
        let error = c.status(&vm("vm-1")).await.unwrap_err();
        assert!(
            matches!(error, VersError::Key { .. }),
            "{status} {body}: {error}"
        );
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    fake.fault("GET", Fault::Answers(403, FORBIDDEN));
    let error = c.status(&vm("vm-1")).await.unwrap_err();
    assert!(matches!(error, VersError::NotYours { .. }), "{error}");
}

#[tokio::test]
async fn c23_a_restored_vm_may_run_at_once_or_boot_first() {
    let fake = Fake::start().await;
    let c = fake.client();
    let limit = Duration::from_secs(20);
    let new = c.restore(&"c".into(), &NoProgress).await.unwrap();
    for states in [&["running"][..], &["booting", "booting", "running"]] {
        for state in states {
            let body = format!(r#"{{"vm_id":"{new}","state":"{state}"}}"#);
            fake.fault("GET /vm/", Fault::Answers(200, body.leak()));
        }
        c.wait_running(&new, limit, &NoProgress).await.unwrap();
    }
    assert_eq!(fake.count("GET /vm/"), 4);
}
