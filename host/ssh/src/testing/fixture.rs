//! Servers and clients of the tests.

use super::processes;
use super::traffic::Traffic;
use crate::{
    Agent, ConnectionLimits, Hop, HostKeyPolicy, Identities, IdentityFile, KeySource,
    MemoryHostKeys, RusshSsh, ServerConfig, SshConfig,
};
use async_trait::async_trait;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::capability::ssh::{Command, LiveOutput, Stream};
use vdeploy_core::ids::VmId;
use vdeploy_core::target::TargetHandle;
use vdeploy_net::fixtures::{TestTls, test_tls};
use vdeploy_net::tls::{Tls, TlsOptions};

pub fn new_key() -> PrivateKey {
    PrivateKey::random(&mut rng(), Algorithm::Ed25519).unwrap()
}

fn rng() -> impl russh::keys::ssh_key::rand_core::CryptoRng {
    russh::keys::key::safe_rng()
}

pub fn fingerprint(key: &PrivateKey) -> String {
    key.public_key().fingerprint(HashAlg::Sha256).to_string()
}

/// Gives one key for every VM and counts how often it is asked.
#[derive(Debug)]
pub struct OneKey {
    pub key: PrivateKey,
    pub asked: Mutex<Vec<VmId>>,
}

#[async_trait]
impl KeySource for OneKey {
    async fn private_key(&self, vm: &VmId) -> Result<SecretValue, EffectError> {
        self.asked.lock().unwrap().push(vm.clone());
        let text = self.key.to_openssh(LineEnding::LF).unwrap();
        Ok(SecretValue::new(text.to_string()))
    }
}

/// Ends TLS and hands each connection on, like the platform's proxy.
pub struct Front {
    pub address: SocketAddr,
    pub names: Arc<Mutex<Vec<String>>>,
    pub tls: TestTls,
    /// So many of the next connections are closed at once.
    pub away: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    accept: AbortHandle,
}

impl Front {
    pub async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let tls = test_tls(&["*.vm.localhost"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(tls.server.clone());
        let names: Arc<Mutex<Vec<String>>> = Arc::default();
        let open: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
        let away: Arc<AtomicUsize> = Arc::default();
        let (seen, tasks, refuse) = (names.clone(), open.clone(), away.clone());
        let accept = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let less = |n: usize| n.checked_sub(1);
                if refuse
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                    .is_ok()
                {
                    drop(tcp);
                    continue;
                }
                // As every proxy for shells does.
                tcp.set_nodelay(true).unwrap();
                let Ok(stream) = acceptor.accept(tcp).await else {
                    continue;
                };
                let name = stream.get_ref().1.server_name().unwrap_or("").to_owned();
                seen.lock().unwrap().push(name);
                let task = tokio::spawn(serve(stream));
                tasks.lock().unwrap().push(task.abort_handle());
            }
        });
        Self {
            address,
            names,
            tls,
            away,
            open,
            accept: accept.abort_handle(),
        }
    }

    pub fn cut_all(&self) {
        for task in self.open.lock().unwrap().drain(..) {
            task.abort();
        }
    }

    pub fn connections(&self) -> usize {
        self.names.lock().unwrap().len()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.cut_all();
        self.accept.abort();
    }
}

/// A client of a front.
pub struct Client {
    pub ssh: Arc<RusshSsh>,
    pub target: TargetHandle,
    pub keys: Arc<OneKey>,
    pub pins: Arc<MemoryHostKeys>,
}

pub fn client(front: &Front, user_key: &PrivateKey) -> Client {
    client_with(front, user_key, |_| {}, None)
}

pub fn client_with(
    front: &Front,
    user_key: &PrivateKey,
    change: impl FnOnce(&mut SshConfig),
    host_keys: Option<HostKeyPolicy>,
) -> Client {
    let tls = Tls::new(&TlsOptions {
        ca_file: Some(front.tls.ca_file.clone()),
        verify: true,
    })
    .unwrap();
    let mut config = SshConfig::new("vm.localhost", tls);
    config.gateway = Some(front.address.to_string());
    config.user = user();
    change(&mut config);
    let target = TargetHandle::vers("infra".into(), "one".into(), "https://{vm}.vm.localhost");
    let keys = Arc::new(OneKey {
        key: user_key.clone(),
        asked: Mutex::default(),
    });
    let pins = Arc::new(MemoryHostKeys::default());
    let policy = host_keys.unwrap_or_else(|| HostKeyPolicy::Stored {
        store: pins.clone(),
        first_use: true,
    });
    let ssh = RusshSsh::new(target.clone(), config, policy, keys.clone());
    Client {
        ssh: Arc::new(ssh),
        target,
        keys,
        pins,
    }
}

pub fn user() -> String {
    let out = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A real OpenSSH server with its own configuration, behind a front.
pub struct Sshd {
    pub front: Front,
    pub host_key: PrivateKey,
    pub user_key: PrivateKey,
    /// The home of whoever logs in.
    pub home: PathBuf,
    pub traffic: Arc<Traffic>,
    hole: tokio::sync::watch::Sender<()>,
    server: tokio::process::Child,
    /// Where it listens itself, without TLS.
    pub inner: SocketAddr,
    dir: tempfile::TempDir,
}

/// Where the server is: on the PATH, or where a user's PATH often does not
/// look. It insists on being started by its absolute path.
fn sshd() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(servers)
        .map(|dir| dir.join("sshd"))
        .find(|file| file.is_absolute() && file.is_file())
        .expect("no sshd on this machine: run `cargo xtask setup`")
}

impl Sshd {
    /// Starts one. A machine without OpenSSH fails the test.
    pub async fn start() -> Self {
        Self::start_with("", |_| {}).await
    }

    /// The same with more lines of configuration, and with more files in its
    /// directory, which `DIR` stands for.
    pub async fn start_with(more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let (host_key, user_key) = (new_key(), new_key());
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let home = at("home");
        std::fs::create_dir(&home).unwrap();
        write_private(
            &at("host_key"),
            &host_key.to_openssh(LineEnding::LF).unwrap(),
        );
        let public = user_key.public_key().to_openssh().unwrap();
        write_private(&at("authorized_keys"), &public);
        prepare(dir.path());
        // Only root needs it, and only root can make it.
        let _ = std::fs::create_dir_all("/run/sshd");
        for _ in 0..5 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let inner = free.local_addr().unwrap();
            drop(free);
            let config = format!(
                "ListenAddress {inner}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
                 StrictModes no\nSetEnv HOME={}\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
                 MaxStartups 100\nLogLevel QUIET\n{}\n",
                at("host_key").display(),
                at("authorized_keys").display(),
                home.display(),
                more.replace("DIR", &dir.path().display().to_string()),
            );
            std::fs::write(at("config"), config).unwrap();
            let mut server = serve(&at("config"));
            // Another process may take the port in between: then it exits.
            if !listens(inner, &mut server).await {
                continue;
            }
            let traffic: Arc<Traffic> = Arc::default();
            let hole = tokio::sync::watch::Sender::new(());
            let (counted, holes) = (traffic.clone(), hole.clone());
            let front = Front::start(move |outside| {
                let (counted, mut fallen) = (counted.clone(), holes.subscribe());
                async move {
                    let Ok(inside) = TcpStream::connect(inner).await else {
                        return;
                    };
                    inside.set_nodelay(true).unwrap();
                    tokio::select! {
                        () = counted.pass_on(outside, inside) => {}
                        // Nothing is closed and nothing is passed on.
                        _ = fallen.changed() => std::future::pending().await,
                    }
                }
            })
            .await;
            return Self {
                front,
                host_key,
                user_key,
                home,
                traffic,
                hole,
                server,
                inner,
                dir,
            };
        }
        panic!("sshd does not start");
    }

    /// The open connections pass nothing on any more and stay open.
    pub fn swallow_all(&self) {
        self.hole.send_replace(());
    }

    /// Ends the server and its sessions, and starts it again.
    pub async fn restart(&mut self) {
        let parent = self.server.id().unwrap().to_string();
        let sessions = processes::children_of(&parent);
        self.server.kill().await.unwrap();
        for session in sessions {
            processes::kill(&session, "KILL");
        }
        self.server = serve(&self.dir.path().join("config"));
        assert!(listens(self.inner, &mut self.server).await);
    }

    pub fn client(&self) -> Client {
        client(&self.front, &self.user_key)
    }

    /// A file of the given text that only its owner can read.
    pub fn private_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        write_private(&path, text);
        path
    }

    /// The key that it lets in, in a file.
    pub fn key_file(&self) -> PathBuf {
        let text = self.user_key.to_openssh(LineEnding::LF).unwrap();
        self.private_file("user_key", &text)
    }

    /// A way there with one key in a file.
    pub fn hop(&self, host_keys: HostKeyPolicy) -> Hop {
        Hop {
            name: "db".to_owned(),
            host: self.inner.ip().to_string(),
            port: self.inner.port(),
            user: user(),
            identities: keys_in(&[self.key_file()]),
            host_keys,
            known_as: format!("[{}]:{}", self.inner.ip(), self.inner.port()),
            command: None,
        }
    }
}

/// Those keys and no others.
pub fn keys_in(files: &[PathBuf]) -> Identities {
    let named = |path: &PathBuf| IdentityFile {
        path: path.clone(),
        named: true,
    };
    Identities {
        files: files.iter().map(named).collect(),
        certificates: Vec::new(),
        key: None,
        passphrase: None,
        agent: Agent::Off("no agent in this test".to_owned()),
        only: true,
    }
}

/// A client of a server by plain TCP.
pub fn to_server(server: Hop) -> RusshSsh {
    way_to(Vec::new(), server)
}

/// The same through jump hosts.
pub fn way_to(through: Vec<Hop>, server: Hop) -> RusshSsh {
    let config = ServerConfig {
        limits: ConnectionLimits::default(),
        through,
        server,
        withheld: Vec::new(),
    };
    RusshSsh::to_server(TargetHandle::ssh("db".into(), None), config)
}

fn serve(config: &Path) -> tokio::process::Child {
    tokio::process::Command::new(sshd())
        .args(["-D", "-e", "-f"])
        .arg(config)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn listens(address: SocketAddr, server: &mut tokio::process::Child) -> bool {
    let mut backoff = vdeploy_core::backoff::Backoff::up_to(Duration::from_millis(200));
    for _ in 0..100 {
        if TcpStream::connect(address).await.is_ok() {
            return true;
        }
        if server.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
    false
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// `sh -c script`.
pub fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args = vec!["-c".into(), script.into()];
    command.timeout = Duration::from_secs(60);
    command
}

/// Collects live output and tells when some text has arrived.
#[derive(Default)]
pub struct Watch {
    text: Mutex<String>,
    pub bytes: AtomicUsize,
    pub waits: Mutex<Vec<String>>,
    more: tokio::sync::Notify,
}

impl LiveOutput for Watch {
    fn doing(&self, text: &str) {
        self.waits.lock().unwrap().push(text.to_owned());
        self.more.notify_one();
    }

    fn chunk(&self, _: Stream, bytes: &[u8]) {
        self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        let mut text = self.text.lock().unwrap();
        if text.len() < 4096 {
            text.push_str(&String::from_utf8_lossy(bytes));
        }
        drop(text);
        self.more.notify_one();
    }
}

impl Watch {
    /// What is being waited for, as it is said first.
    pub async fn wait(&self) -> String {
        loop {
            if let Some(text) = self.waits.lock().unwrap().first() {
                return text.clone();
            }
            self.more.notified().await;
        }
    }

    /// So many whole lines.
    pub async fn lines(&self, count: usize) {
        while self.text.lock().unwrap().matches('\n').count() < count {
            self.more.notified().await;
        }
    }

    /// The first whole line.
    pub async fn line(&self) -> String {
        loop {
            if let Some((line, _)) = self.text.lock().unwrap().split_once('\n') {
                return line.to_owned();
            }
            self.more.notified().await;
        }
    }
}
