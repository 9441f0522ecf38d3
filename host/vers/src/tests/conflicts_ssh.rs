//! The points of docs/vers-platform.md that are about a VM and not only about
//! the API: the fake of the API, and a real OpenSSH server behind TLS.

use super::fake::{Fake, Fault, vm};
use super::restore::Said;
use crate::{SnapshotConfig, VersClient, VersConfig, VersSnapshot};
use russh::keys::ssh_key::LineEnding;
use std::sync::Arc;
use std::time::Duration;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::capability::snapshot::{Progress, Snapshot, Wake};
use vdeploy_core::capability::ssh::Ssh;
use vdeploy_core::ids::RunId;
use vdeploy_core::target::TargetHandle;
use vdeploy_ssh::testing::fixture::{Front, Sshd};
use vdeploy_ssh::{HostKeyPolicy, MemoryHostKeys, RusshSsh};

/// A VM of the fake whose SSH is a real server.
struct Guest {
    fake: Fake,
    sshd: Sshd,
    ssh: Arc<RusshSsh>,
    snapshot: VersSnapshot,
}

impl Guest {
    async fn new(change: impl FnOnce(&mut VersConfig)) -> Self {
        Self::resolving("localhost", change).await
    }

    /// A restored VM is asked for `name`.
    async fn resolving(name: &str, change: impl FnOnce(&mut VersConfig)) -> Self {
        let (fake, sshd) = (Fake::start().await, Sshd::start().await);
        let key = sshd.user_key.to_openssh(LineEnding::LF).unwrap();
        fake.cloud.lock().unwrap().ssh_key = key.to_string();
        let mut config = fake.config();
        config.vm_domain = Some("vm.localhost".into());
        config.gateway = Some(sshd.front.address.to_string());
        config.ca_file = Some(sshd.front.tls.ca_file.clone());
        change(&mut config);
        let client = Arc::new(VersClient::new(&config).unwrap());
        let target = TargetHandle::vers("infra".into(), vm("vm-1"), "https://{vm}.vm.localhost");
        let policy = HostKeyPolicy::Stored {
            store: Arc::new(MemoryHostKeys::default()),
            first_use: true,
        };
        let mut ssh_config = client.ssh_config();
        ssh_config.user = vdeploy_ssh::testing::fixture::user();
        let ssh = Arc::new(RusshSsh::new(
            target.clone(),
            ssh_config,
            policy,
            client.clone(),
        ));
        let mut config = SnapshotConfig::new(RunId::new("run-1"));
        config.running_within = Duration::from_secs(30);
        config.reached_within = Duration::from_secs(30);
        config.resolves = Some(name.to_owned());
        let snapshot = VersSnapshot::new(client, target, ssh.clone(), config);
        Self {
            fake,
            sshd,
            ssh,
            snapshot,
        }
    }
}

#[tokio::test]
async fn c07_a_vm_left_paused_by_a_commit_is_resumed() {
    let guest = Guest::new(|_| {}).await;
    guest.fake.cloud.lock().unwrap().paused_after_commit = true;
    let said = Said::default();
    guest.snapshot.create("pre", &said).await.unwrap();
    let state = guest.fake.cloud.lock().unwrap().vm("vm-1").unwrap()["state"].clone();
    assert_eq!(state, "running");
    assert!(said.has("resuming VM vm-1, which is paused"));
    assert!(said.has("writing everything to the disk of VM vm-1"));
    assert!(!said.has("not everything may be on the disk"));
}

#[tokio::test]
async fn c07_one_lost_answer_does_not_leave_the_vm_paused() {
    let guest = Guest::new(|_| {}).await;
    guest.fake.cloud.lock().unwrap().paused_after_commit = true;
    guest.fake.fault("PATCH", Fault::Answers(503, "later"));
    guest.fake.fault("PATCH", Fault::Drops);
    guest
        .snapshot
        .create("pre", &Said::default())
        .await
        .unwrap();
    let state = guest.fake.cloud.lock().unwrap().vm("vm-1").unwrap()["state"].clone();
    assert_eq!(state, "running");
    assert_eq!(guest.fake.count("PATCH"), 3);
}

/// Ends every connection once the commit is there.
struct Cuts<'a>(&'a Front);
impl Progress for Cuts<'_> {
    fn doing(&self, text: &str) {
        if text.starts_with("checking that VM vm-1 still runs") {
            self.0.cut_all();
        }
    }
}

#[tokio::test]
async fn c07_a_connection_that_did_not_outlive_the_commit_is_made_again() {
    let guest = Guest::new(|_| {}).await;
    guest.ssh.connect().await.unwrap();
    let cuts = Cuts(&guest.sshd.front);
    guest.snapshot.create("pre", &cuts).await.unwrap();
    assert_eq!(guest.sshd.front.connections(), 2);
    assert_eq!(guest.fake.count("POST"), 1);
}

#[tokio::test]
async fn c15_c16_ssh_is_dialled_inside_tls_by_name_and_never_at_the_port_of_the_key() {
    let guest = Guest::new(|_| {}).await;
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    guest.fake.cloud.lock().unwrap().ssh_port = trap.local_addr().unwrap().port();
    guest.ssh.connect().await.unwrap();
    assert_eq!(
        *guest.sshd.front.names.lock().unwrap(),
        ["vm-1.vm.localhost"]
    );
    let caught = tokio::time::timeout(Duration::ZERO, trap.accept()).await;
    assert!(caught.is_err());
}

#[tokio::test]
async fn c17_the_certificate_of_a_vm_is_verified_unless_told_otherwise() {
    let strict = Guest::new(|c| c.ca_file = None).await;
    let error = strict.ssh.connect().await.unwrap_err();
    assert_eq!(error.code, "ssh.tls");
    assert!(error.message.contains("`tls-verify = false`"), "{error}");
    let lax = Guest::new(|c| {
        c.ca_file = None;
        c.tls_verify = false;
    });
    lax.await.ssh.connect().await.unwrap();
}

#[tokio::test]
async fn a_sync_that_fails_is_said_and_the_snapshot_is_taken() {
    let guest = Guest::new(|c| c.ca_file = None).await;
    let said = Said::default();
    guest.snapshot.create("pre", &said).await.unwrap();
    assert!(said.has("what was written last can be missing in the snapshot"));
    assert_eq!(guest.fake.count("POST"), 1);
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_woken_or_its_state_is_named() {
    let guest = Guest::new(|_| {}).await;
    let set = |state: &str| {
        guest.fake.cloud.lock().unwrap().vm("vm-1").unwrap()["state"] = state.into();
    };
    let said = Said::default();
    set("paused");
    let error = guest.snapshot.wake(false, &said).await.unwrap_err();
    assert!(
        error
            .message
            .contains("is paused; a run that may change the target resumes it"),
        "{error}"
    );
    assert_eq!(guest.fake.count("PATCH"), 0);
    let woken = guest.snapshot.wake(true, &said).await.unwrap();
    assert!(matches!(woken, Wake::Woken), "{woken:?}");
    assert!(said.has("VM vm-1 was paused and is resumed"));
    assert_eq!(guest.sshd.front.connections(), 1);

    let woken = guest.snapshot.wake(true, &said).await.unwrap();
    assert!(matches!(woken, Wake::NotNeeded(_)), "{woken:?}");
    set("dead");
    let error = guest.snapshot.wake(true, &said).await.unwrap_err();
    assert!(
        error.message.contains("`vdeploy rollback --to snapshot`"),
        "{error}"
    );
    for (status, body, says) in [
        (
            404,
            r#"{"error":"not found","success":false}"#,
            "check the id",
        ),
        (403, "403 Forbidden", "the API key is not accepted"),
        (
            403,
            r#"{"error":"Forbidden","success":false}"#,
            "not yours or not there",
        ),
    ] {
        guest.fake.fault("GET /vm/", Fault::Answers(status, body));
        let error = guest.snapshot.wake(true, &said).await.unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_platform_that_does_not_give_the_key_is_no_failed_login() {
    let guest = Guest::new(|_| {}).await;
    for (status, body, kind, says) in [
        (
            503,
            "<html><head><title>503 Busy</title></head></html>",
            ErrorKind::Unavailable,
            "status 503: a web page, \"503 Busy\"; the platform has a fault and nothing of yours",
        ),
        (500, "", ErrorKind::Unavailable, "the platform has a fault"),
        (401, "", ErrorKind::Denied, "check the key and the account"),
        (404, "{}", ErrorKind::NotFound, "check the id"),
    ] {
        // As often as a read is tried.
        for _ in 0..4 {
            guest
                .fake
                .fault("GET /vm/vm-1/ssh_key", Fault::Answers(status, body));
        }
        let error = guest.ssh.connect().await.unwrap_err();
        assert_eq!((error.code.as_str(), error.kind), ("ssh.platform", kind));
        assert!(error.message.contains("SSH key of VM vm-1"), "{error}");
        assert!(error.message.contains(says), "{error}");
        guest.fake.cloud.lock().unwrap().faults.clear();
    }
    // Nothing was dialled, and nothing stands in the way later.
    assert_eq!(guest.sshd.front.connections(), 0);
    guest.ssh.connect().await.unwrap();
}

#[tokio::test]
async fn dns_that_is_dead_after_a_restore_is_named() {
    for (name, dead) in [("localhost", false), ("nothing.invalid", true)] {
        let guest = Guest::resolving(name, |_| {}).await;
        guest.fake.fault(
            "GET /vm/restored-1/status",
            Fault::Answers(200, r#"{"vm_id":"restored-1","state":"running"}"#),
        );
        let said = Said::default();
        guest.snapshot.restore(&"c".into(), &said).await.unwrap();
        assert!(said.has("checking that VM restored-1 resolves names"));
        let warned = said.has("VM restored-1 cannot resolve names (nothing.invalid)");
        assert_eq!(warned && said.has("/etc/resolv.conf"), dead);
    }
}
