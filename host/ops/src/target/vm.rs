//! VMs: of the platform, and of the local cloud, which speaks the same protocols.

use super::platform;
use super::world::{self, Connection, FactHostKeys, unusable};
use super::{ResolvedTarget, WorldParts};
use crate::checks::Report;
use crate::error::OpsError;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use vdeploy_core::capability::World;
use vdeploy_core::capability::leases::Leases;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::ids::VmId;
use vdeploy_core::target::TargetHandle;
use vdeploy_net::tls::{Tls, TlsOptions};
use vdeploy_ssh::{HostKeyPolicy, RusshSsh};
use vdeploy_vers::{SnapshotConfig, VersClient, VersConfig, VersSnapshot};

/// How a VM is reached.
#[derive(Debug)]
pub(crate) struct ResolvedVm {
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
    pub notice: Option<String>,
    pub oddity: Option<String>,
}

#[async_trait]
impl ResolvedTarget for ResolvedVm {
    fn vm(&self) -> Option<VmId> {
        Some(self.vm.clone())
    }

    fn notice(&self) -> Option<String> {
        self.notice.clone()
    }

    fn warnings(&self) -> Vec<String> {
        self.oddity.iter().cloned().collect()
    }

    fn hidden(&self) -> Option<&SecretValue> {
        Some(&self.vers.api_key)
    }

    async fn check(&self, vm: Option<&VmId>, report: &mut Report<'_>) -> Option<()> {
        platform::check(self, vm.unwrap_or(&self.vm), report).await
    }

    fn world(mut self: Box<Self>, parts: WorldParts) -> Result<World, OpsError> {
        let leases = Leases::default();
        self.vers.leases = leases.clone();
        let connection = self.connection(&parts)?;
        world::of(connection, leases, parts)
    }
}

impl ResolvedVm {
    fn connection(self, parts: &WorldParts) -> Result<Connection, OpsError> {
        let tls = Tls::new(&TlsOptions {
            ca_file: self.vers.ca_file.clone(),
            verify: self.vers.tls_verify,
        })
        .map_err(unusable)?;
        let client = VersClient::with_tls(&self.vers, tls.clone()).map_err(unusable)?;
        let client = Arc::new(client);
        let vm = parts.vm.clone().unwrap_or(self.vm);
        let target = TargetHandle::vers(parts.target.clone(), vm, &self.url);
        let mut ssh_config = client.ssh_config();
        ssh_config.user = self.user;
        ssh_config.limits = ssh_config.limits.with_keepalive(self.keepalive);
        let host_keys = match self.pinned {
            Some(fingerprint) => HostKeyPolicy::Pinned(fingerprint),
            None => HostKeyPolicy::Stored {
                store: FactHostKeys::of(parts),
                first_use: true,
            },
        };
        let ssh = RusshSsh::new(target.clone(), ssh_config, host_keys, client.clone());
        let ssh = Arc::new(ssh);
        let config = SnapshotConfig::new(parts.run.clone());
        let snapshot = VersSnapshot::new(client, target.clone(), ssh.clone(), config);
        Ok(Connection {
            target,
            ssh,
            snapshot: Arc::new(snapshot),
            tls,
            platform: platform_urls(&self.vers),
        })
    }
}

/// Where the platform itself is reached.
fn platform_urls(vers: &VersConfig) -> Vec<Url> {
    let gateway = vers.gateway.as_ref().map(|at| format!("https://{at}/"));
    std::iter::once(vers.base_url.clone())
        .chain(gateway)
        .filter_map(|url| Url::parse(url.trim()).ok())
        .collect()
}
