//! From a resolved target to the world of a run: SSH, HTTP, snapshots.

use super::ssh_target::ResolvedServer;
use super::{ResolvedTarget, ResolvedVm};
use crate::error::OpsError;
use std::fmt;
use std::sync::Arc;
use url::Url;
use vdeploy_core::capability::clock::SystemClock;
use vdeploy_core::capability::leases::Leases;
use vdeploy_core::capability::secrets::LoadedSecrets;
use vdeploy_core::capability::snapshot::{NoSnapshots, Snapshot};
use vdeploy_core::capability::{EffectError, ErrorKind, World};
use vdeploy_core::codes;
use vdeploy_core::ids::{RunId, TargetName, VmId};
use vdeploy_core::target::TargetHandle;
use vdeploy_http::ReqwestHttp;
use vdeploy_journal::{Store, StoreError, StoreState};
use vdeploy_net::tls::{Tls, TlsOptions};
use vdeploy_ssh::{HostKeyPolicy, HostKeyStore, RusshSsh};
use vdeploy_vers::{SnapshotConfig, VersClient, VersConfig, VersSnapshot};

/// What a world is made for.
#[derive(Debug)]
pub struct WorldParts {
    pub target: TargetName,
    /// Where the target is now, if it is a VM.
    pub vm: Option<VmId>,
    pub run: RunId,
    pub secrets: LoadedSecrets,
    pub store: Arc<dyn Store>,
}

/// Makes worlds that no configuration describes, for rehearsals and tests.
pub trait WorldFactory: Send + Sync + fmt::Debug {
    /// The VM that stands for the one of the project, if the target is a VM.
    fn vm(&self) -> Option<VmId>;
    /// Everything that a run can touch.
    ///
    /// # Errors
    /// There is no such world.
    fn world(&self, parts: WorldParts) -> Result<World, OpsError>;
}

/// The parts of a world that depend on the kind of target.
struct Connection {
    target: TargetHandle,
    ssh: Arc<RusshSsh>,
    snapshot: Arc<dyn Snapshot>,
    /// For the target and its platform.
    tls: Tls,
    platform: Vec<Url>,
}

impl ResolvedTarget {
    /// Everything that a run on this target can touch.
    ///
    /// # Errors
    /// Certificates or names that cannot be used.
    pub fn world(self, parts: WorldParts) -> Result<World, OpsError> {
        let leases = Leases::default();
        let connection = match self {
            Self::Given(factory) => return factory.world(parts),
            Self::Vm(mut resolved) => {
                resolved.vers.leases = leases.clone();
                to_vm(*resolved, &parts)?
            }
            Self::Server(resolved) => to_server(*resolved, &parts)?,
        };
        let tls = Tls::new(&TlsOptions::default()).map_err(unusable)?;
        let http = ReqwestHttp::new(&tls, &connection.tls, &connection.platform);
        Ok(World {
            target: connection.target,
            leases,
            clock: Arc::new(SystemClock),
            http: Arc::new(http.map_err(unusable)?),
            ssh: connection.ssh,
            snapshot: connection.snapshot,
            secrets: Arc::new(parts.secrets),
            state: Arc::new(StoreState::new(parts.store)),
        })
    }
}

fn unusable(error: impl fmt::Display) -> OpsError {
    OpsError::usage(error.to_string())
}

/// Where the platform itself is reached.
fn platform(vers: &VersConfig) -> Vec<Url> {
    let gateway = vers.gateway.as_ref().map(|at| format!("https://{at}/"));
    std::iter::once(vers.base_url.clone())
        .chain(gateway)
        .filter_map(|url| Url::parse(url.trim()).ok())
        .collect()
}

fn to_vm(resolved: ResolvedVm, parts: &WorldParts) -> Result<Connection, OpsError> {
    let tls = Tls::new(&TlsOptions {
        ca_file: resolved.vers.ca_file.clone(),
        verify: resolved.vers.tls_verify,
    })
    .map_err(unusable)?;
    let client = VersClient::with_tls(&resolved.vers, tls.clone()).map_err(unusable)?;
    let client = Arc::new(client);
    let vm = parts.vm.clone().unwrap_or(resolved.vm);
    let target = TargetHandle::vers(parts.target.clone(), vm, &resolved.url);
    let mut ssh_config = client.ssh_config();
    ssh_config.user = resolved.user;
    ssh_config.limits = ssh_config.limits.with_keepalive(resolved.keepalive);
    let host_keys = match resolved.pinned {
        Some(fingerprint) => HostKeyPolicy::Pinned(fingerprint),
        None => HostKeyPolicy::Stored {
            store: FactHostKeys::of(parts),
            first_use: true,
        },
    };
    let ssh = RusshSsh::new(target.clone(), ssh_config, host_keys, client.clone());
    let ssh = Arc::new(ssh);
    let config = SnapshotConfig::new(parts.run.clone());
    let snapshot = VersSnapshot::new(client, target.clone(), ssh.clone(), config);
    Ok(Connection {
        target,
        ssh,
        snapshot: Arc::new(snapshot),
        tls,
        platform: platform(&resolved.vers),
    })
}

fn to_server(server: ResolvedServer, parts: &WorldParts) -> Result<Connection, OpsError> {
    let target = TargetHandle::ssh(parts.target.clone(), server.url.as_deref());
    let tls = Tls::new(&TlsOptions::default()).map_err(unusable)?;
    let ssh = RusshSsh::to_server(target.clone(), server.config(FactHostKeys::of(parts))?);
    Ok(Connection {
        target,
        ssh: Arc::new(ssh),
        snapshot: Arc::new(NoSnapshots),
        tls,
        platform: Vec::new(),
    })
}

/// Host keys kept as facts of the target.
#[derive(Debug)]
struct FactHostKeys {
    store: Arc<dyn Store>,
    target: TargetName,
}

impl FactHostKeys {
    fn of(parts: &WorldParts) -> Arc<Self> {
        Arc::new(Self {
            store: parts.store.clone(),
            target: parts.target.clone(),
        })
    }
}

fn unreadable(error: &StoreError) -> EffectError {
    EffectError::new(ErrorKind::Failed, codes::SSH_HOST_KEY, error.to_string())
}

impl HostKeyStore for FactHostKeys {
    fn get(&self, name: &str) -> Result<Option<String>, EffectError> {
        self.store
            .fact(&self.target, &format!("host-key:{name}"))
            .map_err(|e| unreadable(&e))
    }
    fn set(&self, name: &str, fingerprint: &str) -> Result<(), EffectError> {
        self.store
            .set_fact(&self.target, &format!("host-key:{name}"), Some(fingerprint))
            .map_err(|e| unreadable(&e))
    }
}
