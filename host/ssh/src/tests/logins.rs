//! Logins at a server: known hosts, agent, certificates, jump hosts, a
//! `ProxyCommand`. Every server and every agent is a real one of OpenSSH.

use crate::openssh::KnownFiles;
use crate::testing::fixture::{
    Sshd, fingerprint, keys_in, new_key, shell, to_server, user, way_to,
};
use crate::{Agent, Hop, HostKeyPolicy, HostKeyStore, MemoryHostKeys, RusshSsh};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use vdeploy_core::capability::ssh::{NoLiveOutput, Ssh};

fn pinned(sshd: &Sshd) -> HostKeyPolicy {
    HostKeyPolicy::Pinned(fingerprint(&sshd.host_key))
}

async fn says(ssh: &RusshSsh) -> String {
    let out = ssh.run(&shell("echo in"), &NoLiveOutput).await.unwrap();
    String::from_utf8(out.stdout).unwrap()
}

async fn refused(ssh: &RusshSsh, code: &str) -> String {
    let error = ssh.connect().await.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    error.message
}

fn run(program: &str, args: &[&str], dir: &Path, socket: Option<&Path>) -> String {
    let mut command = std::process::Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    if let Some(socket) = socket {
        command.env("SSH_AUTH_SOCK", socket);
    }
    let out = command.output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(out.stdout).unwrap()
}

fn dir_of(file: &Path) -> &Path {
    file.parent().unwrap()
}

/// The server's name in a file of known hosts.
fn written(sshd: &Sshd) -> String {
    format!("[127.0.0.1]:{}", sshd.inner.port())
}

fn known(sshd: &Sshd, text: &str, store: Option<Arc<MemoryHostKeys>>) -> (Hop, PathBuf) {
    let file = sshd.private_file("known_hosts", text);
    let policy = HostKeyPolicy::Known {
        files: KnownFiles {
            files: vec![file.clone()],
            revoked: None,
            name: "127.0.0.1".to_owned(),
            port: Some(sshd.inner.port()),
        },
        store: store.map(|store| store as Arc<dyn HostKeyStore>),
    };
    (sshd.hop(policy), file)
}

fn public(key: &PrivateKey) -> String {
    let text = key.public_key().to_openssh().unwrap();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn an_unknown_host_is_refused_with_the_line_that_lets_it_in() {
    let sshd = Sshd::start().await;
    let (hop, file) = known(&sshd, "# nobody yet\n", None);
    let text = refused(&to_server(hop.clone()), "ssh.host-key").await;
    assert!(text.contains(&fingerprint(&sshd.host_key)), "{text}");
    assert!(text.contains(&file.display().to_string()), "{text}");
    let line = text.lines().last().unwrap().trim();
    assert_eq!(
        line,
        format!("{} {}", written(&sshd), public(&sshd.host_key))
    );
    std::fs::write(&file, format!("{line}\n")).unwrap();
    assert_eq!(says(&to_server(hop.clone())).await, "in\n");
    run(
        "ssh-keygen",
        &["-H", "-f", "known_hosts"],
        dir_of(&file),
        None,
    );
    assert!(
        !std::fs::read_to_string(&file)
            .unwrap()
            .contains("127.0.0.1")
    );
    assert_eq!(says(&to_server(hop)).await, "in\n");
}

#[tokio::test]
async fn a_changed_and_a_revoked_host_key_are_refused_whatever_first_use_says() {
    let sshd = Sshd::start().await;
    let store = Arc::new(MemoryHostKeys::default());
    let other = new_key();
    let line = format!("\n{} {}\n", written(&sshd), public(&other));
    let (hop, file) = known(&sshd, &line, Some(store.clone()));
    let text = refused(&to_server(hop), "ssh.host-key").await;
    let place = format!("{}:2 has {}", file.display(), fingerprint(&other));
    assert!(text.contains(&place), "{text}");
    let line = format!("@revoked * {}\n", public(&sshd.host_key));
    let (hop, file) = known(&sshd, &line, Some(store.clone()));
    let text = refused(&to_server(hop), "ssh.host-key").await;
    assert!(
        text.contains(&format!("{}:1 revokes", file.display())),
        "{text}"
    );
    assert_eq!(store.get(&written(&sshd)).unwrap(), None);
}

#[tokio::test]
async fn first_use_stores_the_key_with_us_and_leaves_the_users_file_alone() {
    let sshd = Sshd::start().await;
    let store = Arc::new(MemoryHostKeys::default());
    let (hop, file) = known(&sshd, "", Some(store.clone()));
    assert_eq!(says(&to_server(hop.clone())).await, "in\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    let stored = store.get(&written(&sshd)).unwrap();
    assert_eq!(stored, Some(fingerprint(&sshd.host_key)));
    let other = fingerprint(&new_key());
    store.set(&written(&sshd), &other).unwrap();
    let text = refused(&to_server(hop.clone()), "ssh.host-key").await;
    assert!(text.contains(&other), "{text}");
    // What the user's own file has counts before what was stored.
    let line = format!("{} {}\n", written(&sshd), public(&sshd.host_key));
    std::fs::write(&file, line).unwrap();
    assert_eq!(says(&to_server(hop)).await, "in\n");
}

#[tokio::test]
async fn a_host_certificate_of_a_known_authority_is_enough() {
    let ca = new_key();
    let sshd = Sshd::start_with("HostCertificate DIR/host_key-cert.pub", |dir| {
        write_key(&dir.join("ca"), &ca);
        let public = run("ssh-keygen", &["-y", "-f", "host_key"], dir, None);
        std::fs::write(dir.join("host_key.pub"), public).unwrap();
        let sign = [
            "-q",
            "-s",
            "ca",
            "-I",
            "it",
            "-h",
            "-n",
            "127.0.0.1",
            "host_key.pub",
        ];
        run("ssh-keygen", &sign, dir, None);
    })
    .await;
    let (hop, _) = known(&sshd, &format!("@cert-authority * {}\n", public(&ca)), None);
    assert_eq!(says(&to_server(hop)).await, "in\n");
    let line = format!("@cert-authority * {}\n", public(&new_key()));
    let (hop, _) = known(&sshd, &line, None);
    refused(&to_server(hop), "ssh.host-key").await;
}

fn write_key(path: &Path, key: &PrivateKey) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, &*key.to_openssh(LineEnding::LF).unwrap()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_user_certificate_beside_its_key_logs_in() {
    let (ca, mine) = (new_key(), new_key());
    let sshd = Sshd::start_with("TrustedUserCAKeys DIR/user_ca.pub", |dir| {
        std::fs::write(dir.join("user_ca.pub"), public(&ca)).unwrap();
    })
    .await;
    let file = sshd.private_file("certified", &mine.to_openssh(LineEnding::LF).unwrap());
    let mut hop = sshd.hop(pinned(&sshd));
    hop.identities = keys_in(std::slice::from_ref(&file));
    refused(&to_server(hop.clone()), "ssh.auth").await;
    let dir = dir_of(&file);
    write_key(&dir.join("ca"), &ca);
    std::fs::write(dir.join("certified.pub"), public(&mine)).unwrap();
    let sign = |id: &str, more: &[&str]| {
        let mut args = vec!["-q", "-s", "ca", "-I", id];
        args.extend(more);
        args.push("certified.pub");
        run("ssh-keygen", &args, dir, None);
    };
    let me = user();
    sign("mine", &["-n", &me]);
    assert_eq!(says(&to_server(hop.clone())).await, "in\n");
    // One that is over is named.
    sign("old", &["-n", &me, "-V", "20200101:20200201"]);
    let text = refused(&to_server(hop), "ssh.auth").await;
    assert!(
        text.contains("its certificate `old`, which ended at 2020-0"),
        "{text}"
    );
}

/// A real agent; it ends with the test.
struct SshAgent {
    socket: PathBuf,
    _process: tokio::process::Child,
}

impl SshAgent {
    async fn start(dir: &Path) -> Self {
        let socket = dir.join("agent.sock");
        let process = tokio::process::Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut backoff =
            vdeploy_core::backoff::Backoff::up_to(std::time::Duration::from_millis(200));
        for _ in 0..100 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                break;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
        Self {
            socket,
            _process: process,
        }
    }

    fn add(&self, key: &Path) {
        let name = key.file_name().unwrap().to_str().unwrap();
        run("ssh-add", &["-q", name], dir_of(key), Some(&self.socket));
    }
}

#[tokio::test]
async fn an_agent_signs_for_keys_that_are_not_in_files() {
    let sshd = Sshd::start().await;
    let key = sshd.key_file();
    let agent = SshAgent::start(dir_of(&key)).await;
    let mut hop = sshd.hop(pinned(&sshd));
    hop.identities = keys_in(&[]);
    hop.identities.only = false;
    hop.identities.agent = Agent::At(agent.socket.clone());
    let text = refused(&to_server(hop.clone()), "ssh.auth").await;
    assert!(text.contains("there is no key"), "{text}");
    agent.add(&key);
    assert_eq!(says(&to_server(hop.clone())).await, "in\n");
    // Only the keys that are named: then the agent's does not count.
    hop.identities.only = true;
    refused(&to_server(hop.clone()), "ssh.auth").await;
    // The public half names it.
    let file = sshd.private_file("half", &public(&sshd.user_key));
    hop.identities = keys_in(std::slice::from_ref(&file));
    let text = refused(&to_server(hop.clone()), "ssh.auth").await;
    assert!(text.contains("no SSH agent has it"), "{text}");
    hop.identities.agent = Agent::At(agent.socket.clone());
    assert_eq!(says(&to_server(hop.clone())).await, "in\n");
    hop.identities.agent = Agent::At(file.with_file_name("no-agent"));
    let text = refused(&to_server(hop), "ssh.auth").await;
    assert!(text.contains("no-agent cannot be asked"), "{text}");
}

#[tokio::test]
async fn a_jump_host_leads_on_and_one_that_may_not_is_named() {
    let (jump, end) = (Sshd::start().await, Sshd::start().await);
    let mut first = jump.hop(pinned(&jump));
    first.name = "bastion".to_owned();
    let ssh = way_to(vec![first.clone()], end.hop(pinned(&end)));
    assert_eq!(says(&ssh).await, "in\n");
    ssh.close().await;
    assert_eq!(
        says(&ssh).await,
        "in\n",
        "connects anew, through the jump host"
    );

    let closed = Sshd::start_with("AllowTcpForwarding no", |_| {}).await;
    let mut shut = closed.hop(pinned(&closed));
    shut.name = "bastion".to_owned();
    let ssh = way_to(vec![shut], end.hop(pinned(&end)));
    let text = refused(&ssh, "ssh.unreachable").await;
    assert!(
        text.contains("jump host bastion does not reach db"),
        "{text}"
    );

    first.identities =
        keys_in(&[end.private_file("stranger", &new_key().to_openssh(LineEnding::LF).unwrap())]);
    let ssh = way_to(vec![first], end.hop(pinned(&end)));
    let text = refused(&ssh, "ssh.auth").await;
    assert!(text.starts_with("bastion does not let"), "{text}");
}

#[tokio::test]
async fn a_program_of_the_users_configuration_makes_the_connection() {
    let (jump, end) = (Sshd::start().await, Sshd::start().await);
    let key = jump.key_file();
    let mut hop = end.hop(pinned(&end));
    hop.command = Some(format!(
        "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         -i {} -p {} -W {} 127.0.0.1",
        key.display(),
        jump.inner.port(),
        end.inner,
    ));
    assert_eq!(says(&to_server(hop.clone())).await, "in\n");
    hop.command = Some("sh -c 'echo no way >&2'".to_owned());
    let text = refused(&to_server(hop), "ssh.unreachable").await;
    assert!(text.starts_with("ProxyCommand to db"), "{text}");
    assert!(text.ends_with("it ended: no way"), "{text}");
}
