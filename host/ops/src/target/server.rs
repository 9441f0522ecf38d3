//! Servers that speak SSH, on no platform.

use super::ssh_target::{self, ResolvedServer};
use super::user::User;
use super::world::{self, Connection, FactHostKeys, unusable};
use super::{ResolvedTarget, TargetKind, WorldParts};
use crate::error::OpsError;
use crate::session::Session;
use async_trait::async_trait;
use std::sync::Arc;
use vdeploy_config::{SshTarget, secret_variables};
use vdeploy_core::capability::World;
use vdeploy_core::capability::leases::Leases;
use vdeploy_core::capability::secrets::LoadedSecrets;
use vdeploy_core::capability::snapshot::NoSnapshots;
use vdeploy_core::ids::{TargetName, VmId};
use vdeploy_core::target::TargetHandle;
use vdeploy_journal::{Store, StoreError};
use vdeploy_net::tls::{Tls, TlsOptions};
use vdeploy_ssh::RusshSsh;

#[async_trait]
impl TargetKind for SshTarget {
    async fn resolve(
        &self,
        session: &Session,
        secrets: &LoadedSecrets,
    ) -> Result<Box<dyn ResolvedTarget>, OpsError> {
        let withheld = secret_variables(session.project());
        let user = User::of(&session.options().environment)?;
        let resolved = ssh_target::resolve(self, secrets, withheld, &user)?;
        Ok(Box::new(resolved))
    }
}

impl ResolvedTarget for ResolvedServer {
    fn vm(&self) -> Option<VmId> {
        None
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn address(&self, _: &TargetName, _: &dyn Store) -> Result<String, StoreError> {
        Ok(self.host_and_port())
    }

    fn world(self: Box<Self>, parts: WorldParts) -> Result<World, OpsError> {
        let target = TargetHandle::ssh(parts.target.clone(), self.url.as_deref());
        let ssh = RusshSsh::to_server(target.clone(), self.config(FactHostKeys::of(&parts))?);
        let connection = Connection {
            target,
            ssh: Arc::new(ssh),
            snapshot: Arc::new(NoSnapshots),
            tls: Tls::new(&TlsOptions::default()).map_err(unusable)?,
            platform: Vec::new(),
        };
        world::of(connection, Leases::default(), parts)
    }
}
