//! A target whose VM is in the registry of its service: asked before the run,
//! and from then on a target with a VM like any other.

use super::vers_config;
use crate::error::{OpsError, OpsErrorKind};
use crate::session::Session;
use vdeploy_config::{TargetConfig, VmSource};
use vdeploy_core::capability::secrets::{LoadedSecrets, Secrets as _};
use vdeploy_vers::{RegistryError, RegistryQuery, VersClient};

/// The target with its VM, and what to tell of it where the registry was asked.
pub async fn resolve(
    session: &Session,
    target: &TargetConfig,
    secrets: &LoadedSecrets,
) -> Result<(TargetConfig, Option<String>), OpsError> {
    let TargetConfig::Vers(vers) = target else {
        return Ok((target.clone(), None));
    };
    if session.options().world.is_some() {
        return Ok((target.clone(), None));
    }
    let VmSource::Registry(source) = &vers.vm else {
        return Ok((target.clone(), None));
    };
    let config = vers_config(vers, secrets)?;
    let client = VersClient::new(&config).map_err(|e| OpsError::usage(e.to_string()))?;
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
    match client.vm_from_registry(&query).await {
        Ok(vm) => {
            let told = format!("the registry {} names VM {vm}", source.url);
            let mut vers = vers.clone();
            vers.vm = VmSource::Id(vm);
            Ok((TargetConfig::Vers(vers), Some(told)))
        }
        Err(RegistryError::Refused(why)) => Err(OpsError::new(OpsErrorKind::Refused, why).hint(
            "name the VM in the target, `vm = \"VM_ID\"` in place of `vm-registry`, or put the \
             registry right",
        )),
        Err(RegistryError::Unreachable(why)) => Err(OpsError::new(OpsErrorKind::Unreachable, why)
            .hint("name the VM in the target for this run, `vm = \"VM_ID\"` in place of `vm-registry`")),
    }
}
