//! Shapes and errors of the REST API.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vdeploy_local_cloud::{Cloud, LocalError, read_endpoints, state_file};

use super::support::{NOBODY, Rig, options, plain_client, text_of};

#[tokio::test]
async fn a_vm_lives_from_new_root_to_delete() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;

    let list = rig.get_json("/vms").await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list, rig.get_json("/vm").await);
    assert_eq!(list[0]["state"], "running");
    assert_eq!(rig.get_json(&format!("/vm/{vm}/status")).await, list[0]);
    let meta = rig.get_json(&format!("/vm/{vm}/metadata")).await;
    assert_eq!(meta["parent_commit_id"], Value::Null);
    assert_eq!(meta["ip"], "::1");
    let key = rig.get_json(&format!("/vm/{vm}/ssh_key")).await;
    let pem = key["ssh_private_key"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
    assert!(key["ssh_port"].is_u64());

    let path = format!("/vm/{vm}");
    let gone = rig.call("DELETE", &path, None).await;
    assert_eq!(gone.status, 200);
    assert_eq!(gone.json(), json!({"vm_id": vm}));
    let again = rig.call("DELETE", &path, None).await;
    assert_eq!(again.status, 403);
    assert_eq!(
        again.json(),
        json!({"error": "Forbidden", "success": false})
    );
    let status = rig.call("GET", &format!("/vm/{vm}/status"), None).await;
    assert_eq!(status.status, 404);
    assert!(!rig.root.path().join("vms").join(&vm).exists());
    rig.stop().await;
}

#[tokio::test]
async fn bad_ids_and_bad_keys_are_answered_in_bare_text() {
    let rig = Rig::start().await;
    let bad = rig.call("GET", "/vm/not-a-uuid/status", None).await;
    assert_eq!((bad.status.as_u16(), bad.content_type), (400, None));

    let url = format!("{}/api/v1/vms", rig.ends().api_url);
    for request in [rig.http.get(&url), rig.http.get(&url).bearer_auth("wrong")] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 403);
        assert!(answer.headers().get("content-type").is_none());
        assert_eq!(answer.text().await.unwrap(), "403 Forbidden");
    }
    let health = format!("{}/health", rig.ends().api_url);
    assert_eq!(rig.http.get(health).send().await.unwrap().status(), 200);
    rig.stop().await;
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_told_apart() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let state = format!("/vm/{vm}/state");
    let wrong_case = rig
        .call("PATCH", &state, Some(r#"{"state":"paused"}"#))
        .await;
    assert_eq!(wrong_case.status, 422);
    assert!(wrong_case.text.contains("`Paused`"), "{}", wrong_case.text);
    assert!(wrong_case.content_type.unwrap().starts_with("text/plain"));
    let cut_off = rig.call("PATCH", &state, Some(r#"{"state"#)).await;
    assert_eq!(cut_off.status, 400);

    let unknown = json!({"commit_id": NOBODY}).to_string();
    for (body, status, part) in [
        ("{}", 400, "Failed to parse"),
        (r#"{"commit_id":"x","ref":"a:b"}"#, 400, "Failed to parse"),
        (r#"{"commit_id":"x"}"#, 422, "commit_id"),
        (unknown.as_str(), 404, "commit not found"),
        (r#"{"ref":"nocolon"}"#, 400, "repo_name:tag_name"),
        (r#"{"tag_name":"t"}"#, 404, "tag not found"),
    ] {
        let answer = rig.call("POST", "/vm/from_commit", Some(body)).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(answer.text.contains(part), "{body}: {}", answer.text);
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_answered_per_path() {
    let rig = Rig::start().await;
    let by_vm = format!("/vm/branch/by_vm/{NOBODY}");
    let hybrid = rig.call("POST", &by_vm, None).await;
    assert_eq!(hybrid.status, 404);
    assert_eq!(hybrid.json(), json!({"vms": [], "error": "not found"}));
    let either = rig
        .call("POST", &format!("/vm/{NOBODY}/branch"), None)
        .await;
    let expected = json!({"error": "commit not found", "success": false});
    assert_eq!(either.json(), expected);
    for (method, path) in [
        ("POST", format!("/vm/{NOBODY}/commit")),
        ("GET", format!("/vm/{NOBODY}/ssh_key")),
        ("GET", format!("/vm/{NOBODY}/metadata")),
        ("GET", format!("/vm/commits/{NOBODY}/parents")),
        ("DELETE", format!("/commits/{NOBODY}")),
        ("GET", "/no/such/path".to_owned()),
    ] {
        let answer = rig.call(method, &path, None).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(answer.json()["success"], false, "{method} {path}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn commits_are_listed_traced_and_protected() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let path = format!("/vm/{vm}/commit?keep_paused=false&skip_wait_boot=false");
    let chosen = "11111111-2222-4333-8444-555555555555";
    let body = json!({"commit_id": chosen, "name": "before", "description": "d"}).to_string();
    let first = rig.call("POST", &path, Some(&body)).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(first.json(), json!({"commit_id": chosen}));
    let twice = rig.call("POST", &path, Some(&body)).await;
    assert_eq!(twice.status, 409, "{}", twice.text);

    let restored = rig.restore(chosen).await;
    let meta = rig.get_json(&format!("/vm/{restored}/metadata")).await;
    assert_eq!(meta["parent_commit_id"], chosen);
    assert_eq!(meta["grandparent_vm_id"], vm);
    let second = rig.commit(&restored).await;

    let page = rig.get_json("/commits?limit=1").await;
    assert_eq!([&page["total"], &page["limit"], &page["offset"]], [2, 1, 0]);
    assert_eq!(page["commits"][0]["commit_id"], second);
    let rest = rig.get_json("/commits?limit=500&offset=1").await;
    assert_eq!(rest["limit"], 100);
    assert_eq!(rest["commits"][0]["name"], "before");
    assert_eq!(rest["commits"][0]["parent_vm_id"], vm);
    let line = rig.get_json(&format!("/vm/commits/{second}/parents")).await;
    let line = line.as_array().unwrap();
    let ids: Vec<_> = line.iter().map(|commit| text_of(&commit["id"])).collect();
    assert_eq!(ids, [second.as_str(), chosen]);

    let delete = format!("/commits/{chosen}");
    let busy = rig.call("DELETE", &delete, None).await;
    assert_eq!(busy.status, 409);
    assert_eq!(busy.json()["error"], "commit still has 1 active VM(s)");
    rig.call("DELETE", &format!("/vm/{restored}"), None).await;
    assert_eq!(rig.call("DELETE", &delete, None).await.status, 204);
    assert_eq!(rig.call("DELETE", &delete, None).await.status, 404);
    rig.stop().await;
}

#[tokio::test]
async fn branches_answer_as_many_vms_as_asked_for() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let commit = rig.commit(&vm).await;
    for (path, count) in [
        (format!("/vm/{vm}/branch?count=2"), 2),
        (format!("/vm/{commit}/branch"), 1),
        (format!("/vm/branch/by_vm/{vm}"), 1),
        (format!("/vm/branch/by_commit/{commit}?count=2"), 2),
    ] {
        let made = rig.call("POST", &path, None).await;
        assert_eq!(made.status, 201, "{path}: {}", made.text);
        let vms = made.json()["vms"].as_array().unwrap().len();
        assert_eq!(vms, count, "{path}");
    }
    let vms = rig.cloud.vms().await;
    let ports: BTreeSet<_> = vms.iter().map(|vm| vm.app_port).collect();
    assert_eq!(ports.len(), 7, "every VM has a port of its own");
    assert_eq!(rig.get_json("/commits").await["total"], 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_cloud_can_be_stopped_and_started_again() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let commit = rig.commit(&vm).await;
    let first = rig.ends().clone();
    let Rig { cloud, http, root } = rig;
    let refused = Cloud::start(options(root.path())).await;
    assert!(matches!(refused, Err(LocalError::AlreadyRunning { .. })));
    let found = read_endpoints(root.path()).unwrap().unwrap();
    assert_eq!(found.api_url, first.api_url);

    drop(http);
    cloud.shutdown(true).await.unwrap();
    assert!(read_endpoints(root.path()).unwrap().is_none());
    assert!(!state_file(root.path()).exists());

    let cloud = Cloud::start(options(root.path())).await.unwrap();
    let again = cloud.endpoints().clone();
    assert_eq!(again.api_key, first.api_key);
    assert_eq!(again.api_url, first.api_url);
    assert_eq!(again.gateway, first.gateway);
    let http = plain_client();
    let rig = Rig { cloud, http, root };
    let status = rig.get_json(&format!("/vm/{vm}/status")).await;
    assert_eq!(status["state"], "running");
    rig.restore(&commit).await;
    rig.stop().await;
}

#[tokio::test]
async fn what_a_killed_cloud_left_half_made_is_removed() {
    let rig = Rig::start().await;
    let (whole, half) = (rig.new_vm().await, rig.new_vm().await);
    let Rig { cloud, http, root } = rig;
    cloud.shutdown(true).await.unwrap();

    let file = root.path().join("cloud.json");
    let mut records: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    records["vms"][&half]["state"] = "booting".into();
    std::fs::write(&file, records.to_string()).unwrap();
    let half_dir = root.path().join("vms").join(&half);
    std::fs::remove_file(half_dir.join("ssh_key")).unwrap();
    let partial = root
        .path()
        .join("commits")
        .join(format!("{NOBODY}.partial"));
    std::fs::create_dir(&partial).unwrap();

    let cloud = Cloud::start(options(root.path())).await.unwrap();
    let rig = Rig { cloud, http, root };
    let vms = rig.get_json("/vms").await;
    assert_eq!(vms.as_array().unwrap().len(), 1);
    assert_eq!(vms[0]["vm_id"], whole.as_str());
    assert!(!half_dir.exists() && !partial.exists());
    rig.stop().await;
}
