//! The step against a real service.

use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, FakeHost, FakeResponse};
use vdeploy_service::testing::Stage;

use super::*;

const MANIFEST: &str = include_str!("../plugin.toml");

fn host(stage: &Stage, host: FakeHost, config: Value) -> FakeHost {
    stage
        .behind(host)
        .manifest(MANIFEST)
        .config(config)
        .output(
            "preflight",
            json!({"port": stage.port(), "sha": "1111111aaaa"}),
        )
        .output(
            "git-pull",
            json!({"old-sha": "1111111aaaa", "new-sha": "2222222bbbb"}),
        )
        .output("snapshot", json!({"id": "snap-before"}))
}

fn stored(stage: &Stage, store: &str) -> Vec<Value> {
    serde_json::from_str(&stage.read(&format!("app/data/{store}.json"))).unwrap_or_default()
}

#[test]
fn a_deploy_is_told_to_feed_ledger_and_registry() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let host = host(&stage, FakeHost::new(), json!({}));
    let output = testing::run::<Announce>(&host).unwrap();
    assert_eq!(
        output.summary,
        "deployed 2222222 to infra in place of 1111111"
    );
    assert_eq!(
        (output.feed.as_str(), output.ledger.as_str()),
        ("done", "done")
    );
    let events = stored(&stage, "feed");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["type"], "custom");
    assert_eq!(events[0]["agent"], "vdeploy");
    assert_eq!(events[0]["metadata"]["sha"], "2222222bbbb");
    assert!(
        events[0]["detail"]
            .as_str()
            .unwrap()
            .contains("snapshot snap-before")
    );
    let (label, id) = host.snapshots().remove(0);
    assert!(label.starts_with("post-deploy 2222222 run 01"), "{label}");
    let commits = stored(&stage, "commits");
    assert_eq!(commits.len(), 1);
    assert_eq!(commits[0]["commitId"], id.as_str());
    assert_eq!(commits[0]["vmId"], "vm-1");
    assert_eq!(commits[0]["tags"], json!(["post-deploy", "infra"]));
    let vms = stored(&stage, "registry");
    assert_eq!(vms[0]["id"], "vm-1");
    assert_eq!(vms[0]["role"], "infra");
    assert_eq!(vms[0]["address"], "vm-1.vm.vers.sh");
    assert_eq!(
        vms[0]["services"][0],
        json!({"name": "board", "port": stage.port(), "healthPath": "/health"})
    );
    assert_eq!(host.warnings(), Vec::<String>::new());
    // A request in doubt is read back if it leaves a record.
    let requests = host.requests().into_iter();
    let told: Vec<(String, String)> = requests.filter_map(|request| request.read_back).collect();
    let run = events[0]["metadata"]["run"].as_str().unwrap();
    let expected = [
        ("/feed/events?type=custom&limit=200", run),
        (&format!("/commits/{id}"), id.as_str()),
        ("/registry/vms/vm-1", "vm-1"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((url, text), (path, own)) in told.iter().zip(expected) {
        assert!(url.ends_with(path), "{url} is not {path}");
        assert_eq!(text, own);
    }
}

#[test]
fn announcing_twice_has_one_effect() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let host = host(&stage, FakeHost::new(), json!({}));
    testing::run::<Announce>(&host).unwrap();
    let again = testing::run::<Announce>(&host).unwrap();
    assert_eq!(
        (again.feed.as_str(), again.ledger.as_str()),
        ("done before", "done before")
    );
    assert_eq!(again.registry, "done before");
    for store in ["feed", "commits", "registry"] {
        assert_eq!(stored(&stage, store).len(), 1, "{store}");
    }
    assert_eq!(host.snapshots().len(), 1);
    // A correct entry gets only a heartbeat.
    assert_eq!(stored(&stage, "registry")[0]["beats"], 1);
}

#[test]
fn a_wrong_entry_is_mended() {
    let stage = Stage::new().unwrap();
    std::fs::create_dir_all(stage.path("app/data")).unwrap();
    let entry = json!([{"id": "vm-1", "name": "ours", "status": "stopped", "address": "old"}]);
    std::fs::write(stage.path("app/data/registry.json"), entry.to_string()).unwrap();
    stage.serve(&[]).unwrap();
    testing::run::<Announce>(&host(&stage, FakeHost::new(), json!({}))).unwrap();
    let vm = stored(&stage, "registry").remove(0);
    assert_eq!(
        (&vm["status"], &vm["address"], &vm["name"]),
        (&json!("running"), &json!("vm-1.vm.vers.sh"), &json!("ours"))
    );
}

/// A registry of one VM that loses the answer to a change; `arrives`: whether the
/// first change arrived.
fn forgetful(stage: &Stage, status: &str, arrives: bool) -> FakeHost {
    let mut entry = json!({"id": "vm-1", "status": status, "address": "vm-1.vm.vers.sh"});
    let mut lost = false;
    let registry = FakeHost::new().http(move |request| {
        let change = request.method != "GET";
        if !request.path().starts_with("/registry/vms/vm-1") {
            return None;
        }
        if change && (lost || arrives) && request.method == "PATCH" {
            let new: Value = serde_json::from_slice(&request.body).unwrap();
            entry["status"] = new["status"].clone();
        }
        if change && !lost {
            lost = true;
            let error = Error::new(ErrorKind::Unavailable, "http.closed", "closed");
            return Some(Err(error.maybe_applied()));
        }
        Some(Ok(FakeResponse::new(200, entry.to_string())))
    });
    host(stage, registry, json!({"snapshot": false, "feed": false}))
}

#[test]
fn a_change_of_the_registry_in_doubt_is_looked_up() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let seen = |host: &FakeHost| {
        let requests = host.requests().into_iter();
        let methods: Vec<String> = requests.map(|request| request.method).collect();
        methods.join(" ")
    };
    for (status, arrives, methods) in [
        ("stopped", true, "GET PATCH GET"),
        ("stopped", false, "GET PATCH GET PATCH"),
        // A heartbeat leaves no record; it is not sent again.
        ("running", false, "GET POST"),
    ] {
        let host = forgetful(&stage, status, arrives);
        let output = testing::run::<Announce>(&host).unwrap();
        assert_eq!(output.registry, "done before", "{status} {arrives}");
        assert_eq!(seen(&host), methods);
        assert_eq!(host.warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_dry_run_announces_nothing_and_says_so() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let host = host(&stage, FakeHost::new(), json!({})).dry_run(true);
    let output = testing::run::<Announce>(&host).unwrap();
    assert_eq!(output.summary, "would announce 2222222");
    assert_eq!(stored(&stage, "feed"), Vec::<Value>::new());
}

#[test]
fn a_record_that_fails_is_a_warning_and_with_strict_an_error() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let broken = || FakeHost::new().on_http("POST", "/commits", FakeResponse::new(500, "Internal"));
    let lax = host(&stage, broken(), json!({}));
    let output = testing::run::<Announce>(&lax).unwrap();
    assert_eq!(
        output.ledger,
        "failed: POST /commits answered 500: Internal"
    );
    assert!(
        output.summary.ends_with("; 1 of its records failed"),
        "{}",
        output.summary
    );
    assert!(
        lax.warnings()[0].starts_with("the ledger record of snapshot"),
        "{:?}",
        lax.warnings()
    );
    assert_eq!(output.registry, "done");
    let strict = host(&stage, broken(), json!({"strict": true}));
    let error = testing::run::<Announce>(&strict).unwrap_err();
    assert_eq!(error.code, "announce.failed");
}

#[test]
fn an_unchanged_run_announces_nothing() {
    let host = FakeHost::new()
        .manifest(MANIFEST)
        .output("preflight", json!({"unchanged": true}));
    assert!(testing::run::<Announce>(&host).unwrap().skipped);
    assert!(host.calls().is_empty());
}

#[test]
fn a_target_that_is_no_vers_vm_gets_an_event_only() {
    let stage = Stage::new().unwrap();
    stage.serve(&[]).unwrap();
    let host = host(&stage, FakeHost::new(), json!({"snapshot": false})).target_vm(None);
    let output = testing::run::<Announce>(&host).unwrap();
    assert_eq!(
        (output.feed.as_str(), output.ledger.as_str()),
        ("done", "off")
    );
    assert_eq!(output.registry, "none: the target is no Vers VM");
    assert_eq!(host.changes().len(), 1);
}
