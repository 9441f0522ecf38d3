//! A cloud in a directory of its own, and clients that know nothing but its endpoints.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Sig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;
use vdeploy_local_cloud::{Cloud, CloudOptions, Endpoints};

pub const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

pub struct Rig {
    pub cloud: Cloud,
    pub http: reqwest::Client,
    pub root: TempDir,
}

pub struct Reply {
    pub status: StatusCode,
    pub content_type: Option<String>,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

pub fn options(root: &std::path::Path) -> CloudOptions {
    CloudOptions {
        root: root.to_path_buf(),
        api_key: None,
        api_port: 0,
        gateway_port: 0,
        router_port: 0,
    }
}

pub fn plain_client() -> reqwest::Client {
    // Only the first call in this process succeeds; one is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Rig {
    pub async fn start() -> Rig {
        let http = plain_client();
        let root = tempfile::tempdir().unwrap();
        let cloud = Cloud::start(options(root.path())).await.unwrap();
        Rig { cloud, http, root }
    }

    pub fn ends(&self) -> &Endpoints {
        self.cloud.endpoints()
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let url = format!("{}/api/v1{path}", self.ends().api_url);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(&self.ends().api_key);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        reply(request).await
    }

    pub async fn get_json(&self, path: &str) -> Value {
        self.call("GET", path, None).await.json()
    }

    pub async fn new_vm(&self) -> String {
        let made = self.call("POST", "/vm/new_root", Some("{}")).await;
        assert_eq!(made.status, 201, "{}", made.text);
        text_of(&made.json()["vm_id"])
    }

    pub async fn commit(&self, vm: &str) -> String {
        let path = format!("/vm/{vm}/commit");
        let made = self.call("POST", &path, Some("{}")).await;
        assert_eq!(made.status, 201, "{}", made.text);
        text_of(&made.json()["commit_id"])
    }

    pub async fn restore(&self, commit: &str) -> String {
        let body = format!(r#"{{"commit_id":"{commit}"}}"#);
        let made = self.call("POST", "/vm/from_commit", Some(&body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        text_of(&made.json()["vm_id"])
    }

    pub async fn ssh_key(&self, vm: &str) -> String {
        let key = self.get_json(&format!("/vm/{vm}/ssh_key")).await;
        text_of(&key["ssh_private_key"])
    }

    /// Logs in with the key that the API gives out.
    pub async fn ssh(&self, vm: &str) -> Ssh {
        let key = self.ssh_key(vm).await;
        self.ssh_as(vm, "root", &key).await.unwrap()
    }

    pub async fn ssh_as(&self, vm: &str, user: &str, key: &str) -> Result<Ssh, String> {
        let key = PrivateKey::from_openssh(key).unwrap();
        let gateway: SocketAddr = self.ends().gateway.parse().unwrap();
        let tls = tls_to(self.ends(), vm, gateway).await?;
        let seen = Arc::new(Mutex::new(None));
        let config = Arc::new(client::Config::default());
        let mut handle = client::connect_stream(config, tls, SeesKey(Arc::clone(&seen)))
            .await
            .map_err(|e| e.to_string())?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let auth = handle.authenticate_publickey(user, key).await;
        if !auth.map_err(|e| e.to_string())?.success() {
            return Err("not authenticated".into());
        }
        let host_key = seen.lock().unwrap().clone().unwrap();
        Ok(Ssh { handle, host_key })
    }

    /// Asks the router for a path of a VM, with TLS or without.
    pub async fn get(&self, scheme: &str, vm: &str, path: &str) -> Reply {
        let host = format!("{vm}.{}", self.ends().vm_domain);
        let port = self.ends().router_port;
        let ca = std::fs::read(&self.ends().ca_file).unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
            .resolve(&host, ([127, 0, 0, 1], port).into())
            .build()
            .unwrap();
        reply(http.get(format!("{scheme}://{host}:{port}{path}"))).await
    }

    /// Asks until the service answers with success.
    pub async fn get_when_up(&self, scheme: &str, vm: &str, path: &str) -> Reply {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let got = self.get(scheme, vm, path).await;
            if got.status == 200 {
                return got;
            }
            assert!(Instant::now() < deadline, "{} {}", got.status, got.text);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the processes of all VMs: every test cleans up.
    pub async fn stop(self) {
        self.cloud.shutdown(true).await.unwrap();
    }
}

pub fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let content_type = response.headers().get("content-type");
    Reply {
        status: response.status(),
        content_type: content_type.map(|v| v.to_str().unwrap().to_owned()),
        text: response.text().await.unwrap(),
    }
}

pub async fn tls_to(
    ends: &Endpoints,
    vm: &str,
    to: SocketAddr,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&ends.ca_file).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(format!("{vm}.{}", ends.vm_domain)).unwrap();
    let tcp = TcpStream::connect(to).await.unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|e| e.to_string())
}

pub struct SeesKey(Arc<Mutex<Option<PublicKey>>>);

impl client::Handler for SeesKey {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = key {
            *self.0.lock().unwrap() = Some(key.clone());
        }
        Ok(true)
    }
}

pub struct Ssh {
    pub handle: Handle<SeesKey>,
    pub host_key: PublicKey,
}

#[derive(Debug, Default)]
pub struct Done {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: Option<u32>,
    pub signal: Option<Sig>,
    pub closed: bool,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

impl Ssh {
    pub async fn open(&self, command: &str) -> Channel<Msg> {
        let channel = self.handle.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        channel
    }

    /// Runs a command to the end of its channel, with nothing to read.
    pub async fn run(&self, command: &str) -> Done {
        let channel = self.open(command).await;
        channel.eof().await.unwrap();
        finish(channel).await
    }
}

pub async fn finish(mut channel: Channel<Msg>) -> Done {
    let mut done = Done::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => done.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => done.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => done.code = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => done.signal = Some(signal_name),
            ChannelMsg::Failure => panic!("the command was refused"),
            ChannelMsg::Close => done.closed = true,
            _ => {}
        }
    }
    done
}

/// Reads from a channel until that many lines came.
pub async fn lines(channel: &mut Channel<Msg>, count: usize) -> Vec<String> {
    let mut text = String::new();
    while text.matches('\n').count() < count {
        match channel.wait().await.expect("closed before the lines came") {
            ChannelMsg::Data { data } => text.push_str(std::str::from_utf8(&data).unwrap()),
            ChannelMsg::Failure => panic!("the command was refused"),
            _ => {}
        }
    }
    text.lines().map(str::to_owned).collect()
}

/// Whether a process runs; one that only waits to be reaped does not.
pub fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
