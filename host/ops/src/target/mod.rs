//! Where a target is and how it is reached, from the project and the user's own
//! configuration. The local cloud is reached by the same protocols as the
//! platform; only its addresses come from its own files.

pub mod connect;
#[cfg(feature = "local-cloud")]
pub mod local_cloud;
#[cfg(not(feature = "local-cloud"))]
#[path = "no_local_cloud.rs"]
pub mod local_cloud;
pub mod registry;
pub mod ssh_target;
pub mod user;
pub mod world;

pub use world::{WorldFactory, WorldParts};

use super::error::{OpsError, OpsErrorKind};
use super::session::{self, Session};
use ssh_target::ResolvedServer;
use std::sync::Arc;
use std::time::Duration;
use user::User;
use vdeploy_config::{HostKey, TargetConfig, VersTarget};
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue, Secrets as _};
use vdeploy_core::ids::{TargetName, VmId};
use vdeploy_journal::{Store, StoreError, relocations};
use vdeploy_vers::VersConfig;

/// How a target is reached, with every default filled in.
#[derive(Clone, Debug)]
pub enum ResolvedTarget {
    /// A VM of the platform, or of the local cloud.
    Vm(Box<ResolvedVm>),
    Server(Box<ResolvedServer>),
    /// What the session was given in place of a target.
    Given(Arc<dyn WorldFactory>),
}

/// How a VM is reached.
#[derive(Clone, Debug)]
pub struct ResolvedVm {
    /// The VM that the project names.
    pub vm: VmId,
    /// Where the service is reached; `{vm}` stands for the id.
    pub url: String,
    /// The SSH user.
    pub user: String,
    /// The fingerprint of the host key; none is trust on first use.
    pub pinned: Option<String>,
    /// Silence after which the VM is asked whether it is there.
    pub keepalive: Option<Duration>,
    pub vers: VersConfig,
}

impl ResolvedTarget {
    /// The VM that the project names, if the target is one.
    pub fn vm(&self) -> Option<VmId> {
        match self {
            Self::Vm(resolved) => Some(resolved.vm.clone()),
            Self::Server(_) => None,
            Self::Given(factory) => factory.vm(),
        }
    }

    /// What of the user's own configuration does not count.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Server(resolved) => resolved.warnings.clone(),
            Self::Vm(_) | Self::Given(_) => Vec::new(),
        }
    }

    /// What is secret and not among the project's secrets.
    pub fn hidden(&self) -> Option<&SecretValue> {
        match self {
            Self::Vm(resolved) => Some(&resolved.vers.api_key),
            Self::Server(_) | Self::Given(_) => None,
        }
    }

    /// What names this target in the state of plugins: the server, or the VM
    /// that it was before any restore moved it.
    ///
    /// # Errors
    /// What the store says.
    pub fn address(&self, target: &TargetName, store: &dyn Store) -> Result<String, StoreError> {
        match self {
            Self::Server(resolved) => Ok(resolved.address()),
            Self::Vm(_) | Self::Given(_) => {
                let vm = self.vm().unwrap_or_else(|| "none".into());
                Ok(format!("VM {}", relocations::first_vm(store, target, &vm)?))
            }
        }
    }
}

/// Resolves a target's configuration. A VM that only a registry knows must be in
/// it already (see [`registry::resolve`]).
///
/// # Errors
/// A variable or a secret is missing, or no local cloud runs.
pub fn resolve(
    session: &Session,
    target: &TargetConfig,
    secrets: &LoadedSecrets,
) -> Result<ResolvedTarget, OpsError> {
    let options = session.options();
    if let Some(factory) = &options.world {
        return Ok(ResolvedTarget::Given(factory.clone()));
    }
    match target {
        TargetConfig::Vers(target) => {
            let variable = |name: &str| options.environment.get(name)?.to_str().map(str::to_owned);
            let vm = target.vm.resolve(variable);
            Ok(ResolvedTarget::Vm(Box::new(ResolvedVm {
                vm: vm.map_err(|problem| OpsError::usage(problem.to_string()))?,
                url: target.url.clone(),
                user: target.user.clone(),
                pinned: match &target.host_key {
                    HostKey::FirstUse => None,
                    HostKey::Pinned(fingerprint) => Some(fingerprint.clone()),
                },
                keepalive: target.keepalive,
                vers: vers_config(target, secrets)?,
            })))
        }
        TargetConfig::Ssh(target) => {
            let withheld = vdeploy_config::secret_variables(session.project());
            let user = User::of(&options.environment)?;
            let resolved = ssh_target::resolve(target, secrets, withheld, &user)?;
            Ok(ResolvedTarget::Server(Box::new(resolved)))
        }
        TargetConfig::Local(target) => {
            let dir = target.dir.clone();
            let dir = dir.unwrap_or_else(|| session::local_cloud_dir(session.state_dir()));
            let resolved = local_cloud::resolve(&dir, target.vm.clone())?;
            Ok(ResolvedTarget::Vm(Box::new(resolved)))
        }
    }
}

/// How the platform is asked about a target.
pub fn vers_config(target: &VersTarget, secrets: &LoadedSecrets) -> Result<VersConfig, OpsError> {
    let key = secrets
        .get(&target.api_key.value)
        .map_err(|e| OpsError::new(OpsErrorKind::Refused, e.message))?;
    let mut vers = VersConfig::new(target.api_url.as_str(), key.value);
    vers.vm_domain = Some(target.vm_domain.clone());
    vers.gateway = target.gateway.clone();
    vers.ca_file = target.ca_file.clone();
    vers.tls_verify = target.tls_verify;
    vers.call_timeout = target.call_timeout.unwrap_or(vers.call_timeout);
    vers.commit_timeout = target.commit_timeout.unwrap_or(vers.commit_timeout);
    Ok(vers)
}

/// What is said where the local cloud is needed and this program has none.
pub fn without_local_cloud() -> OpsError {
    OpsError::usage("this vdeploy was built without the local cloud")
        .hint("build it with the feature `local-cloud`, or choose another target")
}
