use super::*;
use vdeploy_plugin::ErrorKind;
use vdeploy_plugin::testing::{self, FakeHost, FakeResponse};

fn host(baseline: Value) -> FakeHost {
    FakeHost::new()
        .manifest(include_str!("../plugin.toml"))
        .output("preflight", baseline)
        .secret("auth-token", "s3cret")
        .run_id("RUN1")
}

fn running() -> Value {
    json!({"app-dir": "/root/workspace/app", "sha": "03b077a9", "service": {"pid": 7}})
}

const LABEL: &str = "pre-deploy app 03b077a run RUN1";

#[test]
fn takes_a_snapshot_and_records_it_with_the_token() {
    let host = host(running()).on_http("POST", "/commits", FakeResponse::new(201, "{}"));
    let taken = testing::run::<Snapshot>(&host).unwrap();
    assert_eq!(taken.id.as_deref(), Some("snapshot-1"));
    assert_eq!(taken.label, LABEL);
    assert_eq!(taken.ledger, "recorded");
    assert_eq!(
        host.snapshots(),
        [(LABEL.to_owned(), "snapshot-1".to_owned())]
    );
    let request = &host.requests()[0];
    assert_eq!(request.header("Authorization"), Some("Bearer s3cret"));
    assert_eq!(request.json()["commitId"], "snapshot-1");
    assert_eq!(request.json()["vmId"], "vm-1");
    assert_eq!(
        request.json()["tags"],
        json!(["backup", "infra", "pre-deploy"])
    );
}

#[test]
fn twice_in_one_run_is_one_snapshot() {
    let host = host(running()).http({
        let mut first = true;
        move |request| {
            let status = match request.method.as_str() {
                "POST" if std::mem::take(&mut first) => 201,
                "POST" => 409,
                _ => 200,
            };
            FakeResponse::new(status, r#"{"vmId":"vm-1"}"#)
        }
    });
    let first = testing::run::<Snapshot>(&host).unwrap();
    let second = testing::run::<Snapshot>(&host).unwrap();
    assert_eq!(first, second);
    assert_eq!(host.snapshots().len(), 1);
}

#[test]
fn unchanged_takes_none_unless_told_to() {
    let mut baseline = running();
    baseline["unchanged"] = json!(true);
    let quiet = host(baseline.clone());
    let taken = testing::run::<Snapshot>(&quiet).unwrap();
    assert!(taken.skipped && taken.id.is_none());
    assert_eq!(quiet.call_lines(), [""; 0]);

    let told = host(baseline).config(json!({"when-unchanged": "take", "ledger": false}));
    let taken = testing::run::<Snapshot>(&told).unwrap();
    assert_eq!((taken.skipped, taken.ledger.as_str()), (false, "off"));
    assert_eq!(told.snapshots().len(), 1);
}

#[test]
fn a_refusing_ledger_only_warns() {
    let host = host(running()).on_http("POST", "/commits", FakeResponse::new(401, "no"));
    let taken = testing::run::<Snapshot>(&host).unwrap();
    assert!(taken.ledger.starts_with("failed: "), "{}", taken.ledger);
    assert!(host.warnings()[0].contains("snapshot-1"));
    assert!(!host.warnings()[0].contains("s3cret"));
}

#[test]
fn a_conflict_of_another_vm_is_a_failure_of_the_ledger() {
    let host = host(running())
        .on_http("POST", "/commits", FakeResponse::new(409, "{}"))
        .on_http(
            "GET",
            "/commits/snapshot-1",
            FakeResponse::new(200, r#"{"vmId":"vm-9"}"#),
        );
    let taken = testing::run::<Snapshot>(&host).unwrap();
    assert!(taken.ledger.contains("another VM"), "{}", taken.ledger);
}

#[test]
fn a_lost_answer_is_looked_up() {
    let lost = Error::new(ErrorKind::Unavailable, "http.closed", "closed").maybe_applied();
    let host = host(running()).http(move |request| match request.method.as_str() {
        "POST" => Err(lost.clone()),
        _ => Ok(FakeResponse::new(200, r#"{"vmId":"vm-1"}"#)),
    });
    assert_eq!(testing::run::<Snapshot>(&host).unwrap().ledger, "recorded");
}

#[test]
fn without_a_service_nothing_is_sent() {
    let host = host(json!({"sha": "03b077a9"}));
    let taken = testing::run::<Snapshot>(&host).unwrap();
    assert_eq!(taken.ledger, "failed: the service does not run");
    assert_eq!(host.requests(), []);
}

#[test]
fn without_a_snapshot_the_step_fails() {
    let error = Error::failed("snapshot.failed", "no room");
    let host = host(running()).fail_call(1, error.clone());
    assert_eq!(testing::run::<Snapshot>(&host), Err(error));
    assert_eq!(host.requests(), []);
}

#[test]
fn a_dry_run_changes_nothing() {
    let host = host(running()).dry_run(true);
    testing::run::<Snapshot>(&host).unwrap();
    assert_eq!(host.snapshots(), []);
}
