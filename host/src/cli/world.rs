//! From a target of the project to the world of a run: the Vers client, the
//! SSH connection, HTTP, snapshots. The local cloud is reached by the same
//! protocols; only its addresses come from its own files.

use super::error::CliError;
use super::exit::ExitCode;
use super::session;
use crate::capability::clock::SystemClock;
use crate::capability::secrets::{LoadedSecrets, SecretValue, Secrets as _};
use crate::capability::{EffectError, ErrorKind, World};
use crate::config::{HostKey, TargetConfig};
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

/// How a target is reached, with every default filled in.
#[derive(Clone, Debug)]
pub struct Route {
    /// The VM that the project names.
    pub vm: VmId,
    /// Where the service is reached; `{vm}` stands for the id.
    pub url: String,
    /// The SSH user.
    pub user: String,
    /// Which host key is accepted; none is trust on first use.
    pub pinned: Option<String>,
    /// The client's configuration.
    pub vers: VersConfig,
}

/// Resolves a target's configuration.
pub fn route(
    target: &TargetConfig,
    secrets: &LoadedSecrets,
    state_dir: &Path,
) -> Result<Route, CliError> {
    match target {
        TargetConfig::Vers(target) => {
            let key = secrets
                .get(&target.api_key.value)
                .map_err(|e| CliError::new(ExitCode::Refused, e.message))?;
            let vm = target
                .vm
                .resolve(|name| std::env::var(name).ok())
                .map_err(|problem| CliError::usage(problem.to_string()))?;
            let mut vers = VersConfig::new(target.api_url.as_str(), key.value);
            vers.vm_domain = Some(target.vm_domain.clone());
            vers.gateway = target.gateway.clone();
            vers.ca_file = target.ca_file.clone();
            vers.tls_verify = target.tls_verify;
            Ok(Route {
                vm,
                url: target.url.clone(),
                user: target.user.clone(),
                pinned: match &target.host_key {
                    HostKey::FirstUse => None,
                    HostKey::Pinned(fingerprint) => Some(fingerprint.clone()),
                },
                vers,
            })
        }
        TargetConfig::Local(target) => {
            let dir = match &target.dir {
                Some(dir) => dir.clone(),
                None => session::default_cloud_dir(state_dir),
            };
            local_route(&dir, target.vm.clone())
        }
    }
}

fn local_route(dir: &Path, vm: Option<VmId>) -> Result<Route, CliError> {
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
    Ok(Route {
        vm,
        url: format!(
            "https://{{vm}}.{}:{}",
            endpoints.vm_domain, endpoints.router_port
        ),
        user: "root".to_owned(),
        pinned: None,
        vers,
    })
}

/// Everything a run on this route can touch.
pub fn build(
    route: Route,
    target: TargetName,
    vm: VmId,
    run: RunId,
    secrets: LoadedSecrets,
    store: Arc<dyn Store>,
) -> Result<World, CliError> {
    let tls = Tls::new(&TlsOptions {
        ca_file: route.vers.ca_file.clone(),
        verify: route.vers.tls_verify,
    })
    .map_err(|e| CliError::usage(e.to_string()))?;
    let client = Arc::new(
        VersClient::with_tls(&route.vers, tls.clone())
            .map_err(|e| CliError::usage(e.to_string()))?,
    );
    let handle = TargetHandle::vers(target.clone(), vm, &route.url);
    let mut ssh_config = client.ssh_config();
    ssh_config.user = route.user;
    let host_keys = match route.pinned {
        Some(fingerprint) => HostKeyPolicy::Pinned(fingerprint),
        None => HostKeyPolicy::Stored {
            store: Arc::new(FactHostKeys {
                store: store.clone(),
                target,
            }),
            first_use: true,
        },
    };
    let ssh = Arc::new(RusshSsh::new(
        handle.clone(),
        ssh_config,
        host_keys,
        client.clone(),
    ));
    let snapshot = VersSnapshot::new(
        client,
        handle.clone(),
        ssh.clone(),
        SnapshotConfig::new(run),
    );
    let http = ReqwestHttp::new(&tls).map_err(|e| CliError::usage(e.to_string()))?;
    Ok(World {
        target: handle,
        clock: Arc::new(SystemClock),
        http: Arc::new(http),
        ssh,
        snapshot: Arc::new(snapshot),
        secrets: Arc::new(secrets),
        state: Arc::new(StoreState::new(store)),
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
    fn get(&self, vm: &VmId) -> Result<Option<String>, EffectError> {
        self.store
            .fact(&self.target, &format!("host-key:{vm}"))
            .map_err(|e| unreadable(&e))
    }
    fn set(&self, vm: &VmId, fingerprint: &str) -> Result<(), EffectError> {
        self.store
            .set_fact(&self.target, &format!("host-key:{vm}"), Some(fingerprint))
            .map_err(|e| unreadable(&e))
    }
}
