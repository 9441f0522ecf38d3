//! Signatures with SHA-1 (`ssh-rsa`): neither accepted nor made.

use crate::testing::fixture::{Front, Sshd, client, new_key, shell, to_server};
use crate::{HostKeyPolicy, MemoryHostKeys};
use russh::Preferred;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, VerifiedPublicKey};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::ssh::{NoLiveOutput, Ssh};

/// An RSA key in `dir`, made by OpenSSH.
fn rsa_key(dir: &Path, name: &str) -> PrivateKey {
    let file = dir.join(name);
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    russh::keys::load_secret_key(&file, None).unwrap()
}

/// A server with an RSA host key that signs with `algorithms`.
async fn with_host_key(algorithms: &str) -> Sshd {
    let more = format!("HostKey DIR/rsa\nHostKeyAlgorithms {algorithms}");
    Sshd::start_with(&more, |dir| {
        rsa_key(dir, "rsa");
    })
    .await
}

fn refused(error: &EffectError) {
    assert_eq!(error.code, "ssh.host-key", "{error}");
    for part in ["SHA-1", "HostKeyAlgorithms", "rsa-sha2-512"] {
        assert!(error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_proves_its_key_with_sha1_only_is_refused_on_both_ways() {
    let sshd = with_host_key("ssh-rsa").await;
    let c = sshd.client();
    refused(&c.ssh.connect().await.unwrap_err());
    let before = sshd.front.connections();
    let error = c.ssh.run(&shell("true"), &NoLiveOutput).await.unwrap_err();
    refused(&error);
    assert_eq!(sshd.front.connections(), before + 1, "asked again in vain");
    let any = HostKeyPolicy::Stored {
        store: Arc::new(MemoryHostKeys::default()),
        first_use: true,
    };
    refused(&to_server(sshd.hop(any)).connect().await.unwrap_err());
}

#[tokio::test]
async fn the_same_key_with_sha2_is_as_good_as_any() {
    for algorithms in ["rsa-sha2-256,ssh-rsa", "ssh-rsa,rsa-sha2-512"] {
        let sshd = with_host_key(algorithms).await;
        sshd.client().ssh.connect().await.unwrap();
    }
}

#[tokio::test]
async fn an_rsa_key_of_the_user_signs_with_sha2() {
    for (algorithms, lets_in) in [("rsa-sha2-512", true), ("ssh-rsa", false)] {
        let sshd = Sshd::start_with(&format!("PubkeyAcceptedAlgorithms {algorithms}"), |dir| {
            rsa_key(dir, "user");
            std::fs::copy(dir.join("user.pub"), dir.join("authorized_keys")).unwrap();
        })
        .await;
        let file = sshd.key_file().with_file_name("user");
        let key = russh::keys::load_secret_key(&file, None).unwrap();
        let connected = client(&sshd.front, &key).ssh.connect().await;
        match lets_in {
            true => connected.unwrap(),
            false => assert_eq!(connected.unwrap_err().code, "ssh.auth"),
        }
    }
}

/// Lets everyone in; OpenSSH cannot be made to name nothing but `ssh-rsa`.
struct Anyone;

impl server::Handler for Anyone {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }
}

#[tokio::test]
async fn a_server_that_wants_sha1_of_the_users_key_is_named() {
    let config = Arc::new(server::Config {
        keys: vec![new_key()],
        preferred: Preferred {
            key: vec![Algorithm::Ed25519, Algorithm::Rsa { hash: None }].into(),
            ..Preferred::DEFAULT
        },
        ..Default::default()
    });
    let front = Front::start(move |stream| {
        let config = config.clone();
        async move {
            if let Ok(running) = server::run_stream(config, stream, Anyone).await {
                let _ = running.await;
            }
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let key = rsa_key(dir.path(), "user");
    let error = client(&front, &key).ssh.connect().await.unwrap_err();
    assert_eq!(error.code, "ssh.auth", "{error}");
    assert!(error.message.contains("SHA-1 signatures only"), "{error}");
    // A key of another kind is not concerned.
    client(&front, &new_key()).ssh.connect().await.unwrap();
}
