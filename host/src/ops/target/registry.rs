//! A target whose VM is in the registry of its service: asked before the run,
//! and from then on a target with a VM like any other.

use super::error::CliError;
use super::exit::ExitCode;
use super::world;
use crate::capability::secrets::{LoadedSecrets, Secrets as _};
use crate::config::{TargetConfig, VmSource};
use crate::vers::{RegistryError, RegistryQuery, VersClient};

/// The target with its VM, and what to tell of it where the registry was asked.
pub async fn settled(
    target: &TargetConfig,
    secrets: &LoadedSecrets,
) -> Result<(TargetConfig, Option<String>), CliError> {
    let TargetConfig::Vers(vers) = target else {
        return Ok((target.clone(), None));
    };
    let VmSource::Registry(source) = &vers.vm else {
        return Ok((target.clone(), None));
    };
    let config = world::vers_config(vers, secrets)?;
    let client = VersClient::new(&config).map_err(|e| CliError::usage(e.to_string()))?;
    let token = secrets
        .get(&source.token.value)
        .map_err(|e| CliError::new(ExitCode::Refused, e.message))?;
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
        Err(RegistryError::Refused(why)) => Err(CliError::new(ExitCode::Refused, why).hint(
            "name the VM in the target, `vm = \"VM_ID\"` in place of `vm-registry`, or put the \
             registry right",
        )),
        Err(RegistryError::Unreachable(why)) => Err(CliError::new(ExitCode::Unreachable, why)
            .hint("name the VM in the target for this run, `vm = \"VM_ID\"` in place of `vm-registry`")),
    }
}
