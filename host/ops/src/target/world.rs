//! From a connection to the world of a run: SSH, HTTP, snapshots.

use super::WorldParts;
use crate::error::OpsError;
use std::fmt;
use std::sync::Arc;
use url::Url;
use vdeploy_core::capability::clock::SystemClock;
use vdeploy_core::capability::leases::Leases;
use vdeploy_core::capability::snapshot::Snapshot;
use vdeploy_core::capability::{EffectError, ErrorKind, World};
use vdeploy_core::codes;
use vdeploy_core::ids::TargetName;
use vdeploy_core::target::TargetHandle;
use vdeploy_http::ReqwestHttp;
use vdeploy_journal::{Store, StoreError, StoreState};
use vdeploy_net::tls::{Tls, TlsOptions};
use vdeploy_ssh::{HostKeyStore, RusshSsh};

/// The parts of a world that depend on the kind of target.
pub(super) struct Connection {
    pub target: TargetHandle,
    pub ssh: Arc<RusshSsh>,
    pub snapshot: Arc<dyn Snapshot>,
    /// For the target and its platform.
    pub tls: Tls,
    pub platform: Vec<Url>,
}

pub(super) fn of(
    connection: Connection,
    leases: Leases,
    parts: WorldParts,
) -> Result<World, OpsError> {
    let tls = Tls::new(&TlsOptions::default()).map_err(unusable)?;
    let http = ReqwestHttp::new(&tls, &connection.tls, &connection.platform);
    Ok(World {
        target: connection.target,
        leases,
        clock: Arc::new(SystemClock),
        http: Arc::new(http.map_err(unusable)?),
        ssh: connection.ssh,
        snapshot: connection.snapshot,
        secrets: Arc::new(parts.secrets),
        state: Arc::new(StoreState::new(parts.store)),
    })
}

pub(super) fn unusable(error: impl fmt::Display) -> OpsError {
    OpsError::usage(error.to_string())
}

/// Host keys kept as facts of the target.
#[derive(Debug)]
pub(super) struct FactHostKeys {
    store: Arc<dyn Store>,
    target: TargetName,
}

impl FactHostKeys {
    pub fn of(parts: &WorldParts) -> Arc<Self> {
        Arc::new(Self {
            store: parts.store.clone(),
            target: parts.target.clone(),
        })
    }
}

fn unreadable(error: &StoreError) -> EffectError {
    EffectError::new(ErrorKind::Failed, codes::SSH_HOST_KEY, error.to_string())
}

impl HostKeyStore for FactHostKeys {
    fn get(&self, name: &str) -> Result<Option<String>, EffectError> {
        self.store
            .fact(&self.target, &format!("host-key:{name}"))
            .map_err(|e| unreadable(&e))
    }
    fn set(&self, name: &str, fingerprint: &str) -> Result<(), EffectError> {
        self.store
            .set_fact(&self.target, &format!("host-key:{name}"), Some(fingerprint))
            .map_err(|e| unreadable(&e))
    }
}
