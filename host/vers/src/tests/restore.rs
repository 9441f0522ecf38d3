//! Snapshots of a target: the fake API together with an SSH server.

use super::fake::{Fake, Fault, vm};
use crate::{SnapshotConfig, VersClient, VersSnapshot};
use russh::keys::ssh_key::LineEnding;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::capability::snapshot::{Progress, Snapshot};
use vdeploy_core::ids::RunId;
use vdeploy_core::target::TargetHandle;
use vdeploy_ssh::testing::faulty::open_door;
use vdeploy_ssh::testing::fixture::{Front, new_key};
use vdeploy_ssh::{HostKeyPolicy, HostKeyStore, MemoryHostKeys, RusshSsh};

#[derive(Default)]
pub(super) struct Said(Mutex<Vec<String>>);
impl Progress for Said {
    fn doing(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}
impl Said {
    pub(super) fn has(&self, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|l| l.contains(text))
    }
}

struct Setup {
    fake: Fake,
    front: Front,
    target: TargetHandle,
    pins: Arc<MemoryHostKeys>,
    client: Arc<VersClient>,
    ssh: Arc<RusshSsh>,
}

impl Setup {
    async fn new() -> Self {
        let fake = Fake::start().await;
        let front = open_door().await;
        let key = new_key().to_openssh(LineEnding::LF).unwrap().to_string();
        fake.cloud.lock().unwrap().ssh_key = key;
        let mut config = fake.config();
        config.vm_domain = Some("vm.localhost".into());
        config.gateway = Some(front.address.to_string());
        config.ca_file = Some(front.tls.ca_file.clone());
        let client = Arc::new(VersClient::new(&config).unwrap());
        let target = TargetHandle::vers("infra".into(), vm("vm-1"), "https://{vm}.vm.localhost");
        let pins = Arc::new(MemoryHostKeys::default());
        let policy = HostKeyPolicy::Stored {
            store: pins.clone(),
            first_use: true,
        };
        let ssh = RusshSsh::new(target.clone(), client.ssh_config(), policy, client.clone());
        Self {
            fake,
            front,
            target,
            pins,
            client,
            ssh: Arc::new(ssh),
        }
    }

    fn snapshot(&self, change: impl FnOnce(&mut SnapshotConfig)) -> VersSnapshot {
        let mut config = SnapshotConfig::new(RunId::new("run-1"));
        config.running_within = Duration::from_secs(20);
        config.reached_within = Duration::from_secs(20);
        change(&mut config);
        let (client, ssh) = (self.client.clone(), self.ssh.clone());
        VersSnapshot::new(client, self.target.clone(), ssh, config)
    }
}

#[tokio::test]
async fn a_snapshot_carries_label_and_run_and_is_taken_once() {
    let s = Setup::new().await;
    s.fake.cloud.lock().unwrap().paused_after_commit = true;
    let snapshot = s.snapshot(|_| {});
    let said = Said::default();
    let id = snapshot.create("pre-deploy", &said).await.unwrap();
    assert_eq!(snapshot.create("pre-deploy", &said).await.unwrap(), id);
    assert_eq!(s.fake.count("POST"), 1);
    let commit = s.fake.cloud.lock().unwrap().commits[0].clone();
    assert_eq!(commit["name"], "pre-deploy");
    assert_eq!(commit["description"], "vdeploy run run-1: pre-deploy");
    let state = s.fake.cloud.lock().unwrap().vm("vm-1").unwrap()["state"].clone();
    assert_eq!(state, "running", "a VM that was left paused goes on");
    assert!(said.has("resuming VM vm-1"));
    assert!(snapshot.exists(&id).await.unwrap());
}

#[tokio::test]
async fn a_resumed_run_finds_the_snapshot_it_had_taken() {
    let s = Setup::new().await;
    let id = s
        .snapshot(|_| {})
        .create("pre", &Said::default())
        .await
        .unwrap();
    let resumed = s.snapshot(|_| {});
    let found = resumed.created("pre", now(), &Said::default()).await;
    assert_eq!(found.unwrap(), Some(id.clone()));
    // The same label again is the same snapshot.
    assert_eq!(resumed.create("pre", &Said::default()).await.unwrap(), id);
    let other = resumed.created("other", 0, &Said::default()).await;
    assert_eq!(other.unwrap(), None);
    assert_eq!(s.fake.count("POST"), 1);
}

#[tokio::test]
async fn a_resumed_run_finds_the_vm_it_had_restored() {
    let s = Setup::new().await;
    s.ssh
        .wait_reachable(Duration::from_secs(20), &Said::default())
        .await
        .unwrap();
    let snapshot = s.snapshot(|_| {});
    let id = snapshot.create("pre", &Said::default()).await.unwrap();
    let before = snapshot.restored(&id, 0, &Said::default()).await;
    assert_eq!(before.unwrap(), None, "no VM was made of it yet");
    // As if the answer had been lost: the target has not moved.
    let new = s.client.restore(&id, &Said::default()).await.unwrap();
    s.fake.cloud.lock().unwrap().vm(new.as_str()).unwrap()["state"] = "running".into();
    let posts = s.fake.count("POST");
    let found = snapshot.restored(&id, now(), &Said::default()).await;
    assert_eq!(found.unwrap(), Some(new.clone()));
    assert_eq!(s.target.facts().vm, Some(new));
    assert_eq!(s.fake.count("POST"), posts);
}

#[tokio::test]
async fn a_restore_moves_the_target_once_the_new_vm_is_reached() {
    let s = Setup::new().await;
    s.ssh
        .wait_reachable(Duration::from_secs(20), &Said::default())
        .await
        .unwrap();
    let pin = s.pins.get("vm-1").unwrap().unwrap();
    let snapshot = s.snapshot(|_| {});
    let id = snapshot.create("pre", &Said::default()).await.unwrap();
    let cloud = s.fake.cloud.clone();
    let boots = tokio::spawn(async move {
        // The new VM runs once somebody has asked for it.
        loop {
            {
                let mut cloud = cloud.lock().unwrap();
                let asked = cloud.count("GET /vm/restored-1/status") > 0;
                if let Some(vm) = cloud.vm("restored-1").filter(|_| asked) {
                    vm["state"] = "running".into();
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let said = Said::default();
    let new = snapshot.restore(&id, &said).await.unwrap();
    boots.await.unwrap();
    assert_eq!(s.target.facts().vm, Some(new.clone()));
    assert_eq!(
        s.pins.get(new.as_str()).unwrap(),
        Some(pin),
        "the pin follows the disk"
    );
    assert!(said.has("until VM restored-1 runs (it is booting)"));
    assert!(said.has("waiting for SSH on restored-1"));
    let names = s.front.names.lock().unwrap().clone();
    assert_eq!(names.last().unwrap(), "restored-1.vm.localhost");

    let error = snapshot.pause_old(&new).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    snapshot.pause_old(&vm("vm-1")).await.unwrap();
    snapshot.pause_old(&vm("vm-1")).await.unwrap();
    assert_eq!(s.fake.count("PATCH"), 1);
}

#[tokio::test]
async fn a_restored_vm_that_is_not_reached_leaves_the_target_where_it_was() {
    let s = Setup::new().await;
    let snapshot = s.snapshot(|c| c.running_within = Duration::from_millis(300));
    let id = snapshot.create("pre", &Said::default()).await.unwrap();
    let error = snapshot.restore(&id, &Said::default()).await.unwrap_err();
    assert!(error.maybe_applied);
    assert!(error.message.contains("delete VM restored-1"), "{error}");
    assert_eq!(s.target.facts().vm, Some(vm("vm-1")));

    // Another machine answers under the new name: its host key is not the old one.
    let other = vdeploy_ssh::testing::fixture::fingerprint(&new_key());
    s.pins.set("vm-1", &other).unwrap();
    s.fake.fault(
        "GET /vm/restored-2/status",
        Fault::Answers(200, r#"{"vm_id":"restored-2","state":"running"}"#),
    );
    let error = s
        .snapshot(|_| {})
        .restore(&id, &Said::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, "ssh.host-key");
    assert_eq!(s.target.facts().vm, Some(vm("vm-1")));
}

#[tokio::test]
async fn an_unknown_snapshot_is_not_found() {
    let s = Setup::new().await;
    s.fake.fault(
        "POST",
        Fault::Answers(404, r#"{"error":"commit not found","success":false}"#),
    );
    let snapshot = s.snapshot(|_| {});
    let error = snapshot
        .restore(&"nope".into(), &Said::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.maybe_applied),
        (ErrorKind::NotFound, false)
    );
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}
