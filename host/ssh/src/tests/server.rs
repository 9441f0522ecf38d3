//! A real OpenSSH server over plain TCP, with the user's own keys.

use crate::testing::fixture::{Sshd, fingerprint, keys_in, new_key, shell, to_server};
use crate::{HostKeyPolicy, HostKeyStore, MemoryHostKeys, RusshSsh};
use russh::keys::ssh_key::LineEnding;
use std::sync::Arc;
use vdeploy_core::capability::secrets::{Secret, SecretValue};
use vdeploy_core::capability::ssh::{NoLiveOutput, Ssh};

fn pinned(sshd: &Sshd) -> HostKeyPolicy {
    HostKeyPolicy::Pinned(fingerprint(&sshd.host_key))
}

async fn says(ssh: &RusshSsh) -> String {
    let out = ssh.run(&shell("echo in"), &NoLiveOutput).await.unwrap();
    String::from_utf8(out.stdout).unwrap()
}

async fn refusal(ssh: &RusshSsh) -> String {
    let error = ssh.connect().await.unwrap_err();
    assert_eq!(error.code, "ssh.auth", "{error}");
    error.message
}

#[tokio::test]
async fn a_key_in_a_file_logs_in_and_one_connection_carries_all() {
    let sshd = Sshd::start().await;
    let ssh = to_server(sshd.hop(pinned(&sshd)));
    ssh.connect().await.unwrap();
    assert_eq!(says(&ssh).await, "in\n");
    ssh.close().await;
    assert_eq!(says(&ssh).await, "in\n", "connects anew");
}

#[tokio::test]
async fn the_first_host_key_is_stored_under_host_and_port() {
    let sshd = Sshd::start().await;
    let store = Arc::new(MemoryHostKeys::default());
    let first_use = HostKeyPolicy::Stored {
        store: store.clone(),
        first_use: true,
    };
    let ssh = to_server(sshd.hop(first_use));
    ssh.connect().await.unwrap();
    let name = format!("[127.0.0.1]:{}", sshd.inner.port());
    let stored = store.get(&name).unwrap();
    assert_eq!(stored, Some(fingerprint(&sshd.host_key)));
    store.set(&name, &fingerprint(&new_key())).unwrap();
    ssh.close().await;
    assert_eq!(ssh.connect().await.unwrap_err().code, "ssh.host-key");
}

#[tokio::test]
async fn what_was_tried_and_what_could_not_be_is_said() {
    let sshd = Sshd::start().await;
    let other = new_key();
    let wrong = sshd.private_file("wrong", &other.to_openssh(LineEnding::LF).unwrap());
    let missing = wrong.with_file_name("missing");
    let open = sshd.private_file("open", "x");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut hop = sshd.hop(pinned(&sshd));
    hop.identities = keys_in(&[wrong.clone(), missing.clone(), open.clone()]);
    let text = refusal(&to_server(hop)).await;
    for part in [
        format!("tried: {} ({})", wrong.display(), fingerprint(&other)),
        format!("{} does not exist", missing.display()),
        format!("chmod 600 {}", open.display()),
    ] {
        assert!(text.contains(&part), "{text}\n{part}");
    }
}

#[tokio::test]
async fn a_passphrase_opens_a_key_and_its_absence_and_a_wrong_one_are_told_apart() {
    let sshd = Sshd::start().await;
    let path = sshd.key_file();
    let status = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-a", "1", "-P", "", "-N", "open sesame", "-f"])
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let with = |passphrase: Option<&str>| {
        let mut hop = sshd.hop(pinned(&sshd));
        hop.identities = keys_in(std::slice::from_ref(&path));
        hop.identities.passphrase = passphrase.map(|value| Secret {
            name: "deploy-passphrase".to_owned(),
            value: SecretValue::new(value.to_owned()),
        });
        // `hop` wrote the key anew, without its passphrase.
        to_server(hop)
    };
    let encrypted = std::fs::read(&path).unwrap();
    let again = |ssh: RusshSsh| {
        std::fs::write(&path, &encrypted).unwrap();
        ssh
    };
    let text = refusal(&again(with(None))).await;
    assert!(
        text.contains("is encrypted") && text.contains("passphrase = "),
        "{text}"
    );
    let text = refusal(&again(with(Some("open barley")))).await;
    assert!(
        text.contains("`deploy-passphrase` is not its passphrase"),
        "{text}"
    );
    assert!(!text.contains("barley"), "{text}");
    assert_eq!(says(&again(with(Some("open sesame")))).await, "in\n");
}
