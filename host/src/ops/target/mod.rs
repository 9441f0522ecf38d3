//! From a target of the project to the world of a run: the way there, HTTP,
//! snapshots. The local cloud is reached by the same protocols as the
//! platform; only its addresses come from its own files.

use super::error::CliError;
use super::exit::ExitCode;
use super::server::{self, ServerRoute};
use super::session;
use super::user::User;
use crate::capability::clock::SystemClock;
use crate::capability::held::Leases;
use crate::capability::secrets::{LoadedSecrets, SecretValue, Secrets as _};
use crate::capability::snapshot::{NoSnapshots, Snapshot};
use crate::capability::{EffectError, ErrorKind, World};
use crate::config::{self, HostKey, Project, TargetConfig, VersTarget};
use crate::http::ReqwestHttp;
use crate::ids::{RunId, TargetName, VmId};
use crate::journal::Store;
use crate::journal::StoreState;
use crate::local::{read_endpoints, read_vms};
use crate::ssh::{HostKeyPolicy, HostKeyStore, RusshSsh};
use crate::target::TargetHandle;
use crate::tls::{Tls, TlsOptions};
use crate::vers::{SnapshotConfig, VersClient, VersConfig, VersSnapshot};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How a target is reached, with every default filled in.
#[derive(Clone, Debug)]
pub enum Route {
    /// A VM of the platform, or of the local cloud.
    Vers(Box<VersRoute>),
    /// A server.
    Server(Box<ServerRoute>),
}

/// How a VM is reached.
#[derive(Clone, Debug)]
pub struct VersRoute {
    /// The VM that the project names.
    pub vm: VmId,
    /// Where the service is reached; `{vm}` stands for the id.
    pub url: String,
    /// The SSH user.
    pub user: String,
    /// Which host key is accepted; none is trust on first use.
    pub pinned: Option<String>,
    /// Silence after which the VM is asked whether it is there.
    pub keepalive: Option<Duration>,
    /// The client's configuration.
    pub vers: VersConfig,
}

impl Route {
    /// The VM that the project names, if the target is one.
    pub fn vm(&self) -> Option<&VmId> {
        match self {
            Self::Vers(route) => Some(&route.vm),
            Self::Server(_) => None,
        }
    }

    /// What of the user's own configuration does not count.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Vers(_) => Vec::new(),
            Self::Server(route) => route.warnings.clone(),
        }
    }

    /// What is secret and not among the project's secrets.
    pub fn hidden(&self) -> Option<&SecretValue> {
        match self {
            Self::Vers(route) => Some(&route.vers.api_key),
            Self::Server(_) => None,
        }
    }
}

/// Resolves a target's configuration.
pub fn route(
    project: &Project,
    target: &TargetConfig,
    secrets: &LoadedSecrets,
    state_dir: &Path,
) -> Result<Route, CliError> {
    match target {
        TargetConfig::Vers(target) => {
            let vm = target
                .vm
                .resolve(|name| std::env::var(name).ok())
                .map_err(|problem| CliError::usage(problem.to_string()))?;
            let vers = vers_config(target, secrets)?;
            Ok(Route::Vers(Box::new(VersRoute {
                vm,
                url: target.url.clone(),
                user: target.user.clone(),
                pinned: match &target.host_key {
                    HostKey::FirstUse => None,
                    HostKey::Pinned(fingerprint) => Some(fingerprint.clone()),
                },
                keepalive: target.keepalive,
                vers,
            })))
        }
        TargetConfig::Ssh(target) => {
            let route = {
                let withheld = config::secret_variables(project);
                server::route(target, secrets, withheld, &User::from_environment()?)?
            };
            Ok(Route::Server(Box::new(route)))
        }
        TargetConfig::Local(target) => {
            let dir = match &target.dir {
                Some(dir) => dir.clone(),
                None => session::default_cloud_dir(state_dir),
            };
            local_route(&dir, target.vm.clone()).map(|route| Route::Vers(Box::new(route)))
        }
    }
}

/// How the platform is asked about a target.
pub fn vers_config(target: &VersTarget, secrets: &LoadedSecrets) -> Result<VersConfig, CliError> {
    let key = secrets
        .get(&target.api_key.value)
        .map_err(|e| CliError::new(ExitCode::Refused, e.message))?;
    let mut vers = VersConfig::new(target.api_url.as_str(), key.value);
    vers.vm_domain = Some(target.vm_domain.clone());
    vers.gateway = target.gateway.clone();
    vers.ca_file = target.ca_file.clone();
    vers.tls_verify = target.tls_verify;
    vers.call_timeout = target.call_timeout.unwrap_or(vers.call_timeout);
    vers.commit_timeout = target.commit_timeout.unwrap_or(vers.commit_timeout);
    Ok(vers)
}

fn local_route(dir: &Path, vm: Option<VmId>) -> Result<VersRoute, CliError> {
    let endpoints = read_endpoints(dir)?.ok_or_else(|| {
        CliError::new(
            ExitCode::Unreachable,
            format!("no local cloud runs in {}", dir.display()),
        )
        .hint(format!(
            "start it: vdeploy local up --detach --dir {}",
            dir.display()
        ))
    })?;
    let vm = match vm {
        Some(vm) => vm,
        None => read_vms(dir)?
            .first()
            .map(|vm| VmId::new(&*vm.vm_id))
            .ok_or_else(|| CliError::usage("the local cloud has no VM"))?,
    };
    let mut vers = VersConfig::new(
        &*endpoints.api_url,
        SecretValue::new(endpoints.api_key.clone()),
    );
    vers.vm_domain = Some(endpoints.vm_domain.clone());
    vers.gateway = Some(endpoints.gateway.clone());
    vers.ca_file = Some(endpoints.ca_file.clone());
    Ok(VersRoute {
        vm,
        url: format!(
            "https://{{vm}}.{}:{}",
            endpoints.vm_domain, endpoints.router_port
        ),
        user: "root".to_owned(),
        pinned: None,
        keepalive: None,
        vers,
    })
}

/// The parts of a world that depend on the kind of target.
struct Reach {
    target: TargetHandle,
    ssh: Arc<RusshSsh>,
    snapshot: Arc<dyn Snapshot>,
    /// For the target and its platform.
    tls: Tls,
    platform: Vec<Url>,
}

/// Where the platform itself is reached.
fn platform(vers: &VersConfig) -> Vec<Url> {
    let gateway = vers.gateway.as_ref().map(|at| format!("https://{at}/"));
    std::iter::once(vers.base_url.clone())
        .chain(gateway)
        .filter_map(|url| Url::parse(url.trim()).ok())
        .collect()
}

/// Everything a run on this route can touch; `vm` is where the target is now,
/// if it is a VM.
pub fn build(
    route: Route,
    target: TargetName,
    vm: Option<VmId>,
    run: RunId,
    secrets: LoadedSecrets,
    store: Arc<dyn Store>,
) -> Result<World, CliError> {
    let facts = Arc::new(FactHostKeys {
        store: store.clone(),
        target: target.clone(),
    });
    let leases = Leases::default();
    let reach = match route {
        Route::Vers(mut route) => {
            let vm = vm.unwrap_or_else(|| route.vm.clone());
            route.vers.leases = leases.clone();
            reach_vm(*route, target, vm, run, facts)?
        }
        Route::Server(route) => reach_server(*route, target, facts)?,
    };
    let tls = Tls::new(&TlsOptions::default()).map_err(|e| CliError::usage(e.to_string()))?;
    let http = ReqwestHttp::new(&tls, &reach.tls, &reach.platform)
        .map_err(|e| CliError::usage(e.to_string()))?;
    Ok(World {
        target: reach.target,
        leases,
        clock: Arc::new(SystemClock),
        http: Arc::new(http),
        ssh: reach.ssh,
        snapshot: reach.snapshot,
        secrets: Arc::new(secrets),
        state: Arc::new(StoreState::new(store)),
    })
}

fn reach_vm(
    route: VersRoute,
    target: TargetName,
    vm: VmId,
    run: RunId,
    facts: Arc<FactHostKeys>,
) -> Result<Reach, CliError> {
    let tls = Tls::new(&TlsOptions {
        ca_file: route.vers.ca_file.clone(),
        verify: route.vers.tls_verify,
    })
    .map_err(|e| CliError::usage(e.to_string()))?;
    let client = Arc::new(
        VersClient::with_tls(&route.vers, tls.clone())
            .map_err(|e| CliError::usage(e.to_string()))?,
    );
    let target = TargetHandle::vers(target, vm, &route.url);
    let mut ssh_config = client.ssh_config();
    ssh_config.user = route.user;
    ssh_config.limits = ssh_config.limits.with_keepalive(route.keepalive);
    let host_keys = match route.pinned {
        Some(fingerprint) => HostKeyPolicy::Pinned(fingerprint),
        None => HostKeyPolicy::Stored {
            store: facts,
            first_use: true,
        },
    };
    let ssh = RusshSsh::new(target.clone(), ssh_config, host_keys, client.clone());
    let ssh = Arc::new(ssh);
    let config = SnapshotConfig::new(run);
    let snapshot = VersSnapshot::new(client, target.clone(), ssh.clone(), config);
    Ok(Reach {
        target,
        ssh,
        snapshot: Arc::new(snapshot),
        tls,
        platform: platform(&route.vers),
    })
}

fn reach_server(
    route: ServerRoute,
    target: TargetName,
    facts: Arc<FactHostKeys>,
) -> Result<Reach, CliError> {
    let target = TargetHandle::ssh(target, route.url.as_deref());
    let tls = Tls::new(&TlsOptions::default()).map_err(|e| CliError::usage(e.to_string()))?;
    let ssh = RusshSsh::to_server(target.clone(), route.config(facts)?);
    Ok(Reach {
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

fn unreadable(error: &crate::journal::StoreError) -> EffectError {
    EffectError::new(ErrorKind::Failed, "ssh.host-key", error.to_string())
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
