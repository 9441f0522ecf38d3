//! The rollback from a snapshot, with a real service instead of the one in the
//! restored VM. `tests/in_place` has the rollback in place.

use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, FakeHost, FakeResponse};
use vdeploy_service::data_loss::DataFile;
use vdeploy_service::testing::{Stage, TOKEN};

use super::*;

const MANIFEST: &str = include_str!("../plugin.toml");
const SHA: &str = "1111111111111111111111111111111111111111";

fn host(stage: &Stage, host: FakeHost, config: Value) -> FakeHost {
    let mut all = json!({"to": "snapshot", "memory-timeout": 0, "ready-timeout": 10});
    for (key, value) in config.as_object().unwrap() {
        all[key] = value.clone();
    }
    let before = Baseline {
        app_dir: stage.app(),
        port: stage.port(),
        log: stage.log(),
        sha: SHA.to_owned(),
        head: SHA.to_owned(),
        service: Some(Listener {
            pid: 1,
            start_ticks: 1,
            ..Listener::default()
        }),
        data_files: Some(data_files(stage)),
        ..Baseline::default()
    };
    let taken = json!({"id": "snap-1", "vm": "vm-1", "label": "pre-deploy 1111111"});
    stage
        .behind(host)
        .manifest(MANIFEST)
        .config(all)
        .known_snapshot("snap-1")
        .restores_to("vm-2", Some("https://vm-2.vm.vers.sh:3000"))
        .rolled_back_output("preflight", serde_json::to_value(before).unwrap())
        .rolled_back_output("snapshot", taken.clone())
        .output("snapshot", taken)
}

/// The current data.
fn data_files(stage: &Stage) -> Vec<DataFile> {
    let Ok(files) = std::fs::read_dir(stage.path("app/data")) else {
        return Vec::new();
    };
    let files = files.map(|file| {
        let file = file.unwrap();
        let known = file.metadata().unwrap();
        let written = known.modified().unwrap();
        let since_1970 = written.duration_since(std::time::UNIX_EPOCH).unwrap();
        DataFile {
            name: format!("data/{}", file.file_name().to_string_lossy()),
            bytes: known.len(),
            written_at: since_1970.as_secs(),
            lines: None,
        }
    });
    files.collect()
}

fn stored(stage: &Stage, store: &str) -> Vec<Value> {
    serde_json::from_str(&stage.read(&format!("app/data/{store}.json"))).unwrap_or_default()
}

/// A service whose registry is as old as the snapshot.
fn restored_service(stage: &Stage) -> Listener {
    let entry = json!([{
        "id": "vm-1", "name": "infra-main", "role": "infra", "status": "running",
        "address": "vm-1.vm.vers.sh", "services": [{"name": "board", "port": 3000}],
    }]);
    std::fs::create_dir_all(stage.path("app/data")).unwrap();
    std::fs::write(stage.path("app/data/registry.json"), entry.to_string()).unwrap();
    stage.serve(&[]).unwrap()
}

#[test]
fn the_process_comes_back_with_the_vm_and_its_records_are_put_right() {
    let stage = Stage::new().unwrap();
    let service = restored_service(&stage);
    let host = host(&stage, FakeHost::new(), json!({}));
    let output = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        output.summary,
        format!(
            "1111111 is live again in VM vm-2: pid {} continues from its memory; the old VM vm-1 is paused; the evidence snapshot is snapshot-1",
            service.pid
        )
    );
    assert!(output.service.unwrap().is_same_process(&service));
    assert_eq!(
        (output.vm.as_deref(), output.old_vm.as_deref()),
        (Some("vm-2"), Some("vm-1"))
    );

    let commits = stored(&stage, "commits");
    assert_eq!(
        (&commits[0]["commitId"], &commits[0]["vmId"]),
        (&json!("snap-1"), &json!("vm-1"))
    );
    assert_eq!(commits[0]["label"], "pre-deploy 1111111");
    assert_eq!(
        (&commits[1]["commitId"], &commits[1]["tags"]),
        (&json!("snapshot-1"), &json!(["broken"]))
    );
    let vms = stored(&stage, "registry");
    assert_eq!(
        (&vms[0]["id"], &vms[0]["status"]),
        (&json!("vm-1"), &json!("stopped"))
    );
    assert_eq!(
        (&vms[1]["id"], &vms[1]["status"]),
        (&json!("vm-2"), &json!("running"))
    );
    assert_eq!(vms[1]["address"], "vm-2.vm.vers.sh");
    assert_eq!(
        (&vms[1]["name"], &vms[1]["services"]),
        (&vms[0]["name"], &vms[0]["services"])
    );
    assert_eq!(host.changes().last().unwrap(), "snapshot.pause-old vm-1");
    assert_eq!(host.warnings(), Vec::<String>::new());
}

#[test]
fn a_second_try_makes_no_second_vm_and_no_second_record() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let host = host(&stage, FakeHost::new(), json!({}));
    testing::run::<Rollback>(&host).unwrap();
    let again = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(
        (again.vm.as_deref(), again.old_vm.as_deref()),
        (Some("vm-2"), Some("vm-1"))
    );
    let restores = host
        .call_lines()
        .into_iter()
        .filter(|line| line.starts_with("snapshot.restore"));
    assert_eq!(restores.count(), 1);
    assert_eq!(
        (
            stored(&stage, "commits").len(),
            stored(&stage, "registry").len()
        ),
        (2, 2)
    );
    assert_eq!(host.snapshots().len(), 1);
    assert_eq!(again.evidence.as_deref(), Some("snapshot-1"));
}

#[test]
fn the_broken_state_is_kept_before_it_is_left_and_what_is_lost_is_said() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let host = host(&stage, FakeHost::new(), json!({}));
    std::fs::write(stage.path("app/data/feed.jsonl"), "{}\n{}\n").unwrap();
    let output = testing::run::<Rollback>(&host).unwrap();
    let lost = ["data/feed.jsonl new, 2 lines"];
    assert_eq!(output.data_loss.unwrap(), lost);
    assert_eq!(
        host.warnings(),
        [format!(
            "snapshot snap-1 does not have what was written since the run's preflight: {}",
            lost[0]
        )]
    );
    let (label, id) = host.snapshots().remove(0);
    assert_eq!(output.evidence, Some(id));
    assert!(label.starts_with("broken app 1111111 run "), "{label}");
    let order = ["snapshot.create", "snapshot.restore", "snapshot.pause-old"];
    let of_vm = host
        .changes()
        .into_iter()
        .filter(|line| line.starts_with("snapshot."));
    for (line, wanted) in of_vm.zip(order) {
        assert!(line.starts_with(wanted), "{line}, not {wanted}");
    }
}

#[test]
fn only_the_runs_own_record_in_the_ledger_is_no_loss() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let ledger = stage.path("app/data/commits.jsonl");
    std::fs::write(&ledger, "{}\n").unwrap();
    let mut before = Baseline {
        app_dir: stage.app(),
        port: stage.port(),
        log: stage.log(),
        sha: SHA.to_owned(),
        ..Baseline::default()
    };
    let mut files = data_files(&stage);
    for file in &mut files {
        file.lines = file.name.ends_with(".jsonl").then_some(1);
    }
    before.data_files = Some(files);
    std::fs::write(&ledger, "{}\n{}\n").unwrap();
    let host = host(&stage, FakeHost::new(), json!({}))
        .rolled_back_output("preflight", serde_json::to_value(before).unwrap())
        .rolled_back_output(
            "snapshot",
            json!({"id": "snap-1", "vm": "vm-1", "ledger": "recorded"}),
        );
    let output = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(output.data_loss, Some(Vec::new()));
    assert_eq!(host.warnings(), Vec::<String>::new());
}

#[test]
fn a_plan_that_has_taken_the_broken_state_already_takes_no_second_one() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let host = host(&stage, FakeHost::new(), json!({}))
        .output("snapshot", json!({"id": "snap-9", "label": "pre-rollback"}));
    std::fs::write(stage.path("app/data/feed.jsonl"), "{}\n").unwrap();
    let output = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(output.evidence.as_deref(), Some("snap-9"));
    assert_eq!(host.snapshots(), Vec::new());
    let said = host.warnings();
    assert!(said[0].contains("records of the deploy"), "{said:?}");
}

#[test]
fn a_vm_that_may_be_lost_is_not_looked_at() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    // The plan `rollback` without a snapshot step.
    let host = host(&stage, FakeHost::new(), json!({})).output("snapshot", json!({}));
    let output = testing::run::<Rollback>(&host).unwrap();
    assert_eq!((output.evidence, output.data_loss), (None, None));
    let mut calls = host.call_lines();
    calls.retain(|line| line.starts_with("snapshot.") || line.starts_with("ssh."));
    assert!(calls[0].starts_with("snapshot.exists"), "{calls:?}");
    assert!(calls[1].starts_with("snapshot.restore"), "{calls:?}");
}

#[test]
fn what_an_older_preflight_did_not_list_is_not_said_to_be_new() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let before = json!({"app-dir": stage.app(), "port": stage.port(), "log": stage.log(), "sha": SHA, "head": SHA});
    let host = host(&stage, FakeHost::new(), json!({})).rolled_back_output("preflight", before);
    let output = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(output.data_loss, None);
    let said = host.warnings();
    assert!(said[0].contains("cannot tell what was written"), "{said:?}");
}

#[test]
fn the_rollback_goes_on_without_the_evidence() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    // No grant for snapshots.
    let manifest = MANIFEST.replace("scope = \"create\"", "scope = \"self-managed\"");
    let refused = host(&stage, FakeHost::new(), json!({})).manifest(&manifest);
    let output = testing::run::<Rollback>(&refused).unwrap();
    assert_eq!(
        (output.evidence, output.vm.as_deref()),
        (None, Some("vm-2"))
    );
    let said = refused.warnings();
    assert!(
        said[0].starts_with("the evidence snapshot of the broken state failed; VM vm-1 holds it"),
        "{said:?}"
    );

    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let off = host(&stage, FakeHost::new(), json!({"evidence": false}));
    assert_eq!(testing::run::<Rollback>(&off).unwrap().evidence, None);
    assert_eq!((off.snapshots(), off.warnings()), (Vec::new(), Vec::new()));
}

#[test]
fn without_memory_the_service_is_started_with_its_token() {
    let stage = Stage::new().unwrap();
    let host = host(&stage, FakeHost::new(), json!({}));
    let output = testing::run::<Rollback>(&host).unwrap();
    assert!(
        output.summary.contains("was started in it"),
        "{}",
        output.summary
    );
    let service = output.service.unwrap();
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", service.pid)).unwrap();
    assert!(environment.contains(&format!("VERS_AUTH_TOKEN={TOKEN}")));
    assert!(
        host.commands()
            .iter()
            .all(|command| !command.line().contains(TOKEN))
    );
}

#[test]
fn an_open_server_is_refused_in_the_restored_vm_too() {
    let stage = Stage::new().unwrap();
    let host = host(
        &stage,
        FakeHost::new(),
        json!({"start": "FORGET_TOKEN=1 node dist/server.js"}),
    );
    let error = testing::run::<Rollback>(&host).unwrap_err();
    assert_eq!(error.code, "restart.open-server");
    assert!(!host.changes().iter().any(|line| line.contains("pause-old")));
}

#[test]
fn the_old_vm_stays_until_the_new_one_answers() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let silent = FakeHost::new().on_http("GET", "/health", FakeResponse::new(502, ""));
    let host = host(&stage, silent, json!({}));
    let error = testing::run::<Rollback>(&host).unwrap_err();
    assert!(
        error
            .message
            .starts_with("VM vm-2 is restored, but its service does not answer"),
        "{error}"
    );
    assert!(!host.changes().iter().any(|line| line.contains("pause-old")));
}

#[test]
fn records_that_fail_are_warnings() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let broken = FakeHost::new()
        .on_http("POST", "/commits", FakeResponse::new(500, "Internal"))
        .on_http("POST", "/registry/vms", FakeResponse::new(500, "Internal"));
    let host = host(&stage, broken, json!({}));
    testing::run::<Rollback>(&host).unwrap();
    let warnings = host.warnings();
    assert!(
        warnings[0].starts_with("the ledger of VM vm-2 lacks snapshot snap-1"),
        "{warnings:?}"
    );
    assert!(
        warnings[1].starts_with("the ledger of VM vm-2 lacks snapshot snapshot-1"),
        "{warnings:?}"
    );
    assert!(
        warnings[2].starts_with("the registry does not show VM vm-2"),
        "{warnings:?}"
    );
    assert_eq!(warnings.len(), 3);
}

#[test]
fn the_old_vm_can_be_kept() {
    let stage = Stage::new().unwrap();
    restored_service(&stage);
    let host = host(&stage, FakeHost::new(), json!({"old-vm": "keep"}));
    let output = testing::run::<Rollback>(&host).unwrap();
    assert!(!output.summary.contains("paused"));
    assert!(!host.changes().iter().any(|line| line.contains("pause-old")));
}

#[test]
fn a_snapshot_that_is_not_there_is_named_before_anything_is_done() {
    let stage = Stage::new().unwrap();
    let none = host(&stage, FakeHost::new(), json!({})).rolled_back_output("snapshot", json!({}));
    assert_eq!(
        testing::run::<Rollback>(&none).unwrap_err().code,
        "rollback.no-snapshot"
    );
    let gone = host(&stage, FakeHost::new(), json!({}))
        .rolled_back_output("snapshot", json!({"id": "snap-0"}));
    let error = testing::run::<Rollback>(&gone).unwrap_err();
    assert_eq!(error.code, "rollback.snapshot-gone");
    assert_eq!(gone.changes(), Vec::<String>::new());
}

#[test]
fn a_dry_run_restores_nothing() {
    let stage = Stage::new().unwrap();
    let host = host(&stage, FakeHost::new(), json!({})).dry_run(true);
    let output = testing::run::<Rollback>(&host).unwrap();
    assert_eq!(output.summary, "would restore snapshot snap-1 to a new VM");
    assert_eq!(
        (output.evidence, output.data_loss),
        (None, Some(Vec::new()))
    );
}

#[test]
fn without_a_baseline_nothing_is_done() {
    let host = FakeHost::new().manifest(MANIFEST);
    assert_eq!(
        testing::run::<Rollback>(&host).unwrap_err().code,
        "rollback.no-baseline"
    );
    assert!(host.calls().is_empty());
}
