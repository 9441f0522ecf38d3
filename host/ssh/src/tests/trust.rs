//! Host keys, certificates and keys of users, against a real OpenSSH server.

use crate::testing::fixture::{Front, Sshd, client, client_with, fingerprint, new_key, shell};
use crate::{HostKeyPolicy, HostKeyStore};
use std::sync::Mutex;
use std::time::Duration;
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::capability::ssh::{NoLiveOutput, Ssh};
use vdeploy_net::tls::{Tls, TlsOptions};

#[derive(Default)]
struct Said(Mutex<Vec<String>>);
impl Progress for Said {
    fn doing(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[tokio::test]
async fn the_first_key_is_stored_and_another_one_stops_everything() {
    let sshd = Sshd::start().await;
    let c = sshd.client();
    c.ssh.connect().await.unwrap();
    let shown = fingerprint(&sshd.host_key);
    assert_eq!(c.pins.get("one").unwrap(), Some(shown.clone()));

    let other = fingerprint(&new_key());
    c.pins.set("one", &other).unwrap();
    c.ssh.close().await;
    let error = c
        .ssh
        .run(&shell("exit 0"), &NoLiveOutput)
        .await
        .unwrap_err();
    assert_eq!(error.code, "ssh.host-key");
    assert!(
        error.message.contains(&shown) && error.message.contains(&other),
        "{error}"
    );
    let before = sshd.front.connections();
    let limit = Duration::from_secs(30);
    let error = c
        .ssh
        .wait_reachable(limit, &Said::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, "ssh.host-key");
    assert_eq!(sshd.front.connections(), before + 1, "no second try");
}

#[tokio::test]
async fn a_pinned_key_holds_for_every_vm_and_an_unknown_one_can_be_refused() {
    let sshd = Sshd::start().await;
    let pinned = HostKeyPolicy::Pinned(fingerprint(&sshd.host_key));
    let c = client_with(&sshd.front, &sshd.user_key, |_| {}, Some(pinned));
    c.ssh.connect().await.unwrap();
    c.target.move_to("two".into());
    c.ssh.connect().await.unwrap();

    let c = sshd.client();
    let strict = HostKeyPolicy::Stored {
        store: c.pins.clone(),
        first_use: false,
    };
    let c = client_with(&sshd.front, &sshd.user_key, |_| {}, Some(strict));
    let error = c.ssh.connect().await.unwrap_err();
    assert_eq!(error.code, "ssh.host-key");
    assert!(
        error.message.contains(&fingerprint(&sshd.host_key)),
        "{error}"
    );
}

#[tokio::test]
async fn a_front_that_closes_the_connection_is_told_in_words_for_an_operator() {
    let front = Front::start(|stream| async move { drop(stream) }).await;
    let c = client(&front, &new_key());
    let error = c.ssh.connect().await.unwrap_err();
    assert_eq!(error.code, "ssh.unreachable");
    let said = "ended the SSH handshake: the connection was closed at the other end; check the \
                VM id, `vm-domain`, that the VM and its SSH server are running";
    assert!(error.message.contains(said), "{error}");
    assert!(!error.message.contains("docs.rs"), "{error}");
}

#[tokio::test]
async fn a_key_that_the_vm_does_not_know_is_ssh_auth_and_pins_nothing() {
    let sshd = Sshd::start().await;
    let c = client_with(&sshd.front, &new_key(), |_| {}, None);
    let error = c.ssh.connect().await.unwrap_err();
    assert_eq!(error.code, "ssh.auth");
    assert_eq!(c.pins.get("one").unwrap(), None);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_needs_the_opt_out() {
    let sshd = Sshd::start().await;
    let with = |verify| {
        let tls = Tls::new(&TlsOptions {
            ca_file: None,
            verify,
        });
        client_with(&sshd.front, &sshd.user_key, |c| c.tls = tls.unwrap(), None)
    };
    let error = with(true).ssh.connect().await.unwrap_err();
    assert_eq!(error.code, "ssh.tls");
    assert!(error.message.contains("ca-file"), "{error}");
    with(false).ssh.connect().await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let sshd = Sshd::start().await;
    let other = |c: &mut crate::SshConfig| c.vm_domain = "elsewhere.localhost".into();
    let c = client_with(&sshd.front, &sshd.user_key, other, None);
    assert_eq!(c.ssh.connect().await.unwrap_err().code, "ssh.tls");
}

#[tokio::test]
async fn nothing_listening_and_nothing_answering_are_unreachable() {
    let front = Front::start(|stream| async move {
        let _keep = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let key = new_key();
    let quick = |c: &mut crate::SshConfig| c.limits.connect_timeout = Duration::from_millis(300);
    let c = client_with(&front, &key, quick, None);
    let error = c.ssh.connect().await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.unreachable", false)
    );
    assert!(error.message.contains("one.vm.localhost"), "{error}");

    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = gone.local_addr().unwrap().to_string();
    drop(gone);
    let c = client_with(&front, &key, |c| c.gateway = Some(closed.clone()), None);
    let said = Said::default();
    let limit = Duration::from_millis(500);
    let error = c.ssh.wait_reachable(limit, &said).await.unwrap_err();
    assert_eq!(error.code, "ssh.unreachable");
    assert!(error.message.contains(&closed), "{error}");
    let said = said.0.lock().unwrap();
    assert_eq!(
        said.len(),
        2,
        "says what it waits for and why, once: {said:?}"
    );
    assert!(said[1].starts_with("waiting for SSH on one: "), "{said:?}");
}
