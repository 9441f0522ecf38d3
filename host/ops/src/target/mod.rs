//! Where a target is and how it is reached, from the project and the user's own
//! configuration: a file a kind. The local cloud is reached by the same protocols
//! as the platform; only its addresses come from its own files.

pub mod connect;
mod given;
#[cfg(feature = "local-cloud")]
pub mod local_cloud;
#[cfg(not(feature = "local-cloud"))]
#[path = "no_local_cloud.rs"]
pub mod local_cloud;
mod platform;
mod registry;
mod server;
mod ssh_target;
mod user;
mod vers;
mod vm;
mod world;

pub use given::{WorldFactory, WorldParts};

use super::checks::Report;
use super::error::OpsError;
use super::session::Session;
use async_trait::async_trait;
use std::fmt;
use vdeploy_config::TargetConfig;
use vdeploy_core::capability::World;
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue};
use vdeploy_core::ids::{TargetName, VmId};
use vdeploy_journal::{Store, StoreError, relocations};

/// How targets of one kind are found; what the project says of them is
/// [`vdeploy_config::TargetKind`].
#[async_trait]
trait TargetKind: Sync {
    /// Fills in every default, and asks whoever alone knows where the target is.
    ///
    /// # Errors
    /// A variable or a secret is missing, or nobody knows where the target is.
    async fn resolve(
        &self,
        session: &Session,
        secrets: &LoadedSecrets,
    ) -> Result<Box<dyn ResolvedTarget>, OpsError>;
}

/// How a target is reached, with every default filled in.
#[async_trait]
pub(crate) trait ResolvedTarget: fmt::Debug + Send + Sync {
    /// The VM that the project names, if the target is one.
    fn vm(&self) -> Option<VmId>;

    /// What was found out on the way here.
    fn notice(&self) -> Option<String> {
        None
    }

    /// What of the project or of the user's own configuration does not count, or
    /// is odd.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is secret and not among the project's secrets.
    fn hidden(&self) -> Option<&SecretValue> {
        None
    }

    /// What names this target in the state of plugins. A VM is named as it was
    /// before any restore moved it.
    ///
    /// # Errors
    /// What the store says.
    fn address(&self, target: &TargetName, store: &dyn Store) -> Result<String, StoreError> {
        let vm = self.vm().unwrap_or_else(|| "none".into());
        Ok(format!("VM {}", relocations::first_vm(store, target, &vm)?))
    }

    /// Checks, for `vdeploy doctor`, what can be asked without a connection. `vm`
    /// is where the target is now. None is that a connection makes no sense.
    async fn check(&self, _vm: Option<&VmId>, _report: &mut Report<'_>) -> Option<()> {
        Some(())
    }

    /// Everything that a run on this target can touch.
    ///
    /// # Errors
    /// Certificates or names that cannot be used.
    fn world(self: Box<Self>, parts: WorldParts) -> Result<World, OpsError>;
}

/// Resolves a target's configuration, unless the session was given a world.
///
/// # Errors
/// A variable or a secret is missing, the VM is in no registry, or no local cloud
/// runs.
pub(crate) async fn resolve(
    session: &Session,
    target: &TargetConfig,
    secrets: &LoadedSecrets,
) -> Result<Box<dyn ResolvedTarget>, OpsError> {
    if let Some(factory) = &session.options().world {
        return Ok(Box::new(given::Given(factory.clone())));
    }
    let kind: &dyn TargetKind = match target {
        TargetConfig::Vers(target) => &**target,
        TargetConfig::Ssh(target) => &**target,
        TargetConfig::Local(target) => target,
    };
    kind.resolve(session, secrets).await
}

/// What is said where the local cloud is needed and this program has none.
pub fn without_local_cloud() -> OpsError {
    OpsError::usage("this vdeploy was built without the local cloud")
        .hint("build it with the feature `local-cloud`, or choose another target")
}
