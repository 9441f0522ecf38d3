//! A running cloud: starts and stops its three listeners.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::core::Core;
use super::endpoints::{Endpoints, PublishedEndpoints, RootLock};
use super::error::LocalError;
use super::listeners::certs::Certificates;
use super::listeners::{gateway, router};
use super::state_file::{ListenPorts, Records, VmRecord, write_private_bytes};
use super::vm::Vm;
use super::{VM_DOMAIN, api};
use vdeploy_files::make_private_dir;

/// How long open connections may take to end at a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct CloudOptions {
    /// The cloud's directory; created if missing.
    pub root: PathBuf,
    /// The bearer key of the REST API; `None` creates one at the first start (mode 0600).
    pub api_key: Option<String>,
    /// Port of the REST API; 0 is the port of the last start if it is free, else any free port.
    pub api_port: u16,
    /// Port of the gateway (SSH in TLS); 0 as above.
    pub gateway_port: u16,
    /// Port of the HTTP router; 0 as above.
    pub router_port: u16,
}

/// One VM, for display.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VmSummary {
    /// The VM's id, a UUID.
    pub vm_id: String,
    /// `running` or `paused`.
    pub state: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// The port that its service should listen on (`PORT`).
    pub app_port: u16,
    /// Its home directory on this machine.
    pub home: PathBuf,
    /// The commit that it was restored from.
    pub parent_commit_id: Option<String>,
}

/// A running cloud. Dropping it stops the listeners; processes on its VMs keep running.
pub struct Cloud {
    core: Arc<Core>,
    endpoints: Endpoints,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    // Dropped before the lock, so that the file never belongs to another cloud.
    _published: PublishedEndpoints,
    _lock: RootLock,
}

impl Cloud {
    /// Starts the cloud of a root directory.
    ///
    /// # Errors
    /// Another cloud runs there, a port that was asked for is taken, or the root directory cannot
    /// be used.
    pub async fn start(o: CloudOptions) -> Result<Cloud, LocalError> {
        if !std::path::Path::new("/proc/self/stat").exists() {
            return Err(LocalError::Unsupported);
        }
        make_private_dir(&o.root).map_err(LocalError::io("create", &o.root))?;
        let root = o
            .root
            .canonicalize()
            .map_err(LocalError::io("resolve", &o.root))?;
        let lock = RootLock::take(&root).await?;
        for sub in ["vms", "commits"].map(|sub| root.join(sub)) {
            make_private_dir(&sub).map_err(LocalError::io("create", &sub))?;
        }
        let certificates = Certificates::open(&root)?;
        let acceptor = TlsAcceptor::from(certificates.server_config()?);
        let records = Records::load(&root)?;
        let kept = records.ports;
        let api_key = match o.api_key {
            Some(key) => key,
            None => kept_api_key(&root, records.owner_id)?,
        };
        let core = Arc::new(Core::open(root.clone(), api_key, machine_path(), records)?);

        let (api_listener, api_port) = listen(o.api_port, kept.api).await?;
        let (gateway_listener, gateway_port) = listen(o.gateway_port, kept.gateway).await?;
        let (router_listener, router_port) = listen(o.router_port, kept.router).await?;
        core.keep_ports(ListenPorts {
            api: api_port,
            gateway: gateway_port,
            router: router_port,
        })?;
        core.revive_all().await?;

        let endpoints = Endpoints {
            pid: std::process::id(),
            api_url: format!("http://127.0.0.1:{api_port}"),
            api_key: core.api_key.clone(),
            gateway: format!("127.0.0.1:{gateway_port}"),
            vm_domain: VM_DOMAIN.to_owned(),
            router_port,
            ca_file: certificates.ca_file(),
        };
        let stop = watch::Sender::new(false);
        let servers = vec![
            tokio::spawn(api::serve(
                api_listener,
                Arc::clone(&core),
                stop.subscribe(),
            )),
            tokio::spawn(gateway::serve(
                gateway_listener,
                acceptor.clone(),
                Arc::clone(&core),
                stop.subscribe(),
            )),
            tokio::spawn(router::serve(
                router_listener,
                acceptor,
                Arc::clone(&core),
                stop.subscribe(),
            )),
        ];
        let published = PublishedEndpoints::publish(&root, &endpoints)?;
        Ok(Cloud {
            core,
            endpoints,
            stop,
            servers,
            _published: published,
            _lock: lock,
        })
    }

    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Creates an empty VM and returns its id.
    ///
    /// # Errors
    /// No port is free, or its directory cannot be made.
    pub async fn create_vm(&self) -> Result<String, LocalError> {
        let core = Arc::clone(&self.core);
        let id = tokio::task::spawn_blocking(move || core.new_root(Default::default()))
            .await
            .map_err(|_| LocalError::Interrupted)??;
        Ok(id.to_string())
    }

    /// Stops the listeners and open connections. With `stop_vms`, ends the processes on all VMs
    /// too; their services start again at the next start.
    ///
    /// # Errors
    /// A process did not end, or the state could not be written.
    pub async fn shutdown(self, stop_vms: bool) -> Result<(), LocalError> {
        self.stop.send_replace(true);
        for mut server in self.servers {
            if tokio::time::timeout(SHUTDOWN_GRACE, &mut server)
                .await
                .is_err()
            {
                server.abort();
            }
        }
        self.core.wait_idle().await;
        if stop_vms {
            self.core.park_all().await?;
        }
        Ok(())
    }

    pub async fn vms(&self) -> Vec<VmSummary> {
        let records = self.core.vm_records();
        records
            .into_iter()
            .filter(|(id, _)| self.core.vm(*id).is_ok())
            .map(|(id, record)| summary(&self.core.root, id, record))
            .collect()
    }
}

/// The VMs of the cloud in `root`, oldest first, as last recorded; the cloud need not run.
///
/// # Errors
/// The records are there but cannot be read or understood.
pub fn read_vms(root: &Path) -> Result<Vec<VmSummary>, LocalError> {
    let mut vms: Vec<_> = Records::load(root)?.vms.into_iter().collect();
    vms.sort_by_key(|(_, record)| record.created_at);
    Ok(vms
        .into_iter()
        .map(|(id, record)| summary(root, id, record))
        .collect())
}

fn summary(root: &Path, id: Uuid, record: VmRecord) -> VmSummary {
    VmSummary {
        vm_id: id.to_string(),
        state: api::state_name(record.state).to_owned(),
        created_at: record.created_at.to_string(),
        app_port: record.app_port,
        home: Vm::dir_of(root, id).join("home"),
        parent_commit_id: record.parent_commit_id.map(|id| id.to_string()),
    }
}

/// Opens a loopback listener on the port `asked`, else on `kept`, else on any free port.
async fn listen(asked: u16, kept: u16) -> Result<(TcpListener, u16), LocalError> {
    let ports: &[u16] = if asked != 0 { &[asked] } else { &[kept, 0] };
    let mut last = LocalError::Interrupted;
    for port in ports {
        match TcpListener::bind(("127.0.0.1", *port)).await {
            Ok(listener) => {
                let port = listener
                    .local_addr()
                    .map_err(|source| LocalError::Listen {
                        port: *port,
                        source,
                    })?
                    .port();
                return Ok((listener, port));
            }
            Err(source) => {
                last = LocalError::Listen {
                    port: *port,
                    source,
                };
            }
        }
    }
    Err(last)
}

/// The API key of the first start, in the platform's format: the owner's UUID, then 64 hexadecimal
/// digits.
fn kept_api_key(root: &std::path::Path, owner_id: Uuid) -> Result<String, LocalError> {
    let file = root.join("api_key");
    match std::fs::read_to_string(&file) {
        Ok(key) => Ok(key.trim().to_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let (a, b) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
            let key = format!("{owner_id}{a}{b}");
            write_private_bytes(&file, key.as_bytes())?;
            Ok(key)
        }
        Err(e) => Err(LocalError::io("read", &file)(e)),
    }
}

/// `PATH` of this machine, the only variable that sessions on VMs inherit.
fn machine_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}
