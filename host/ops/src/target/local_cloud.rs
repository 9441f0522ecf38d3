//! Targets on the local cloud of this machine. It is reached by the same protocols
//! as the platform; only its addresses come from its own files.

use super::vm::ResolvedVm;
use super::{ResolvedTarget, TargetKind};
use crate::error::{OpsError, OpsErrorKind};
use crate::session::{Session, local_cloud_dir};
use async_trait::async_trait;
use std::path::Path;
use vdeploy_config::LocalTarget;
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue};
use vdeploy_core::ids::VmId;
use vdeploy_local_cloud::{LocalError, read_endpoints, read_vms};
use vdeploy_vers::VersConfig;

/// Whether a cloud runs in this directory.
pub fn is_running(dir: &Path) -> bool {
    matches!(read_endpoints(dir), Ok(Some(_)))
}

#[async_trait]
impl TargetKind for LocalTarget {
    async fn resolve(
        &self,
        session: &Session,
        _: &LoadedSecrets,
    ) -> Result<Box<dyn ResolvedTarget>, OpsError> {
        let dir = self.dir.clone();
        let dir = dir.unwrap_or_else(|| local_cloud_dir(session.state_dir()));
        let vm = self.vm.clone();
        Ok(Box::new(resolved(&dir, vm)?))
    }
}

fn resolved(dir: &Path, vm: Option<VmId>) -> Result<ResolvedVm, OpsError> {
    let endpoints = read_endpoints(dir)?.ok_or_else(|| {
        OpsError::new(
            OpsErrorKind::Unreachable,
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
            .ok_or_else(|| OpsError::usage("the local cloud has no VM"))?,
    };
    let mut vers = VersConfig::new(
        &*endpoints.api_url,
        SecretValue::new(endpoints.api_key.clone()),
    );
    vers.vm_domain = Some(endpoints.vm_domain.clone());
    vers.gateway = Some(endpoints.gateway.clone());
    vers.ca_file = Some(endpoints.ca_file.clone());
    Ok(ResolvedVm {
        vm,
        url: format!(
            "https://{{vm}}.{}:{}",
            endpoints.vm_domain, endpoints.router_port
        ),
        user: "root".to_owned(),
        pinned: None,
        keepalive: None,
        vers,
        notice: None,
        oddity: None,
    })
}
impl From<LocalError> for OpsError {
    fn from(error: LocalError) -> Self {
        Self::new(OpsErrorKind::Internal, error.to_string())
    }
}
