//! VMs of the Vers platform, as the project names them.

use super::vm::ResolvedVm;
use super::{ResolvedTarget, TargetKind, registry};
use crate::error::{OpsError, OpsErrorKind};
use crate::session::Session;
use async_trait::async_trait;
use vdeploy_config::{HostKey, TargetKind as _, VersTarget, VmSource};
use vdeploy_core::capability::secrets::{LoadedSecrets, Secrets as _};
use vdeploy_vers::VersConfig;

#[async_trait]
impl TargetKind for VersTarget {
    async fn resolve(
        &self,
        session: &Session,
        secrets: &LoadedSecrets,
    ) -> Result<Box<dyn ResolvedTarget>, OpsError> {
        let vers = config(self, secrets)?;
        let environment = &session.options().environment;
        let variable = |name: &str| environment.get(name)?.to_str().map(str::to_owned);
        let (vm, notice) = match &self.vm {
            VmSource::Registry(source) => {
                let vm = registry::find(source, &vers, secrets).await?;
                let notice = format!("the registry {} names VM {vm}", source.url);
                (vm, Some(notice))
            }
            named => {
                let vm = named.resolve(variable);
                let vm = vm.map_err(|problem| OpsError::usage(problem.to_string()))?;
                (vm, None)
            }
        };
        Ok(Box::new(ResolvedVm {
            vm,
            url: self.url.clone(),
            user: self.user.clone(),
            pinned: match &self.host_key {
                HostKey::FirstUse => None,
                HostKey::Pinned(fingerprint) => Some(fingerprint.clone()),
            },
            keepalive: self.keepalive,
            vers,
            notice,
            oddity: self.oddity(),
        }))
    }
}

/// How the platform is asked.
fn config(target: &VersTarget, secrets: &LoadedSecrets) -> Result<VersConfig, OpsError> {
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
