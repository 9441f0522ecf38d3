//! A target whose VM is in the registry of its service: asked before the run,
//! and from then on a target with a VM like any other.

use crate::error::{OpsError, OpsErrorKind};
use vdeploy_config::RegistrySource;
use vdeploy_core::capability::secrets::{LoadedSecrets, Secrets as _};
use vdeploy_core::ids::VmId;
use vdeploy_vers::{RegistryError, RegistryQuery, VersClient, VersConfig};

/// The VM that the registry names.
pub(super) async fn find(
    source: &RegistrySource,
    vers: &VersConfig,
    secrets: &LoadedSecrets,
) -> Result<VmId, OpsError> {
    let client = VersClient::new(vers).map_err(|e| OpsError::usage(e.to_string()))?;
    let token = secrets
        .get(&source.token.value)
        .map_err(|e| OpsError::new(OpsErrorKind::Refused, e.message))?;
    let query = RegistryQuery {
        url: source.url.clone(),
        token: token.value,
        token_name: source.token.value.clone(),
        role: source.role.clone(),
        services: source.services.clone(),
    };
    client.vm_from_registry(&query).await.map_err(|error| match error {
        RegistryError::Refused(why) => OpsError::new(OpsErrorKind::Refused, why).hint(
            "name the VM in the target, `vm = \"VM_ID\"` in place of `vm-registry`, or put the \
             registry right",
        ),
        RegistryError::Unreachable(why) => OpsError::new(OpsErrorKind::Unreachable, why)
            .hint("name the VM in the target for this run, `vm = \"VM_ID\"` in place of `vm-registry`"),
    })
}
