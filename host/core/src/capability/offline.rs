//! A world in which nothing is reached: for a replay, whose calls are answered
//! from a recording.

use super::clock::SimulatedClock;
use super::error::{EffectError, ErrorKind};
use super::http::{HopPolicy, Http, Request, Response};
use super::leases::Leases;
use super::mask::MASK;
use super::secrets::{Secret, SecretValue, Secrets};
use super::snapshot::{Progress, Snapshot};
use super::ssh::{Command, LiveOutput, Output, Ssh};
use super::state::State;
use super::world::World;
use crate::codes;
use crate::ids::{PluginName, SnapshotId, TargetName, VmId};
use crate::target::TargetHandle;
use async_trait::async_trait;
use std::sync::Arc;

impl World {
    /// Every call is refused. There is a secret of every name: its value is what
    /// stands for a value wherever one was hidden. Only sleeps move the clock.
    pub fn offline(target: TargetHandle, now_unix_ms: u64) -> Self {
        let nothing = Arc::new(Offline);
        Self {
            target,
            leases: Leases::default(),
            clock: Arc::new(SimulatedClock::new(now_unix_ms)),
            http: nothing.clone(),
            ssh: nothing.clone(),
            snapshot: nothing.clone(),
            secrets: nothing.clone(),
            state: nothing,
        }
    }
}

#[derive(Debug)]
struct Offline;

fn refused<T>(code: &str, what: &str) -> Result<T, EffectError> {
    let message = format!("{what} is refused: nothing is reached here");
    Err(EffectError::new(ErrorKind::Denied, code, message))
}

#[async_trait]
impl Http for Offline {
    async fn send(&self, request: &Request, _: &dyn HopPolicy) -> Result<Response, EffectError> {
        let what = format!("{} {}", request.method, request.url);
        refused(codes::HTTP_DENIED, &what)
    }
}

#[async_trait]
impl Ssh for Offline {
    async fn connect(&self) -> Result<(), EffectError> {
        refused(codes::SSH_DENIED, "a connection")
    }
    async fn run(&self, command: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        refused(codes::SSH_DENIED, &format!("`{}`", command.display()))
    }
    async fn close(&self) {}
}

#[async_trait]
impl Snapshot for Offline {
    async fn create(&self, _: &str, _: &dyn Progress) -> Result<SnapshotId, EffectError> {
        refused(codes::SNAPSHOT_DENIED, "a snapshot")
    }
    async fn restore(&self, _: &SnapshotId, _: &dyn Progress) -> Result<VmId, EffectError> {
        refused(codes::SNAPSHOT_DENIED, "a restore")
    }
    async fn exists(&self, _: &SnapshotId) -> Result<bool, EffectError> {
        refused(codes::SNAPSHOT_DENIED, "a look for a snapshot")
    }
    async fn pause_old(&self, _: &VmId) -> Result<(), EffectError> {
        refused(codes::SNAPSHOT_DENIED, "a pause")
    }
    async fn created(
        &self,
        _: &str,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError> {
        refused(codes::SNAPSHOT_DENIED, "a look for a snapshot")
    }
    async fn restored(
        &self,
        _: &SnapshotId,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        refused(codes::SNAPSHOT_DENIED, "a look for a VM")
    }
}

impl Secrets for Offline {
    fn get(&self, name: &str) -> Result<Secret, EffectError> {
        Ok(Secret {
            name: name.to_owned(),
            value: SecretValue::new(MASK.to_owned()),
        })
    }
}

impl State for Offline {
    fn get(&self, _: &PluginName, _: &TargetName, _: &str) -> Result<Option<Vec<u8>>, EffectError> {
        refused(codes::STATE_DENIED, "a look at the state")
    }
    fn put(&self, _: &PluginName, _: &TargetName, _: &str, _: &[u8]) -> Result<(), EffectError> {
        refused(codes::STATE_DENIED, "a change of the state")
    }
    fn delete(&self, _: &PluginName, _: &TargetName, _: &str) -> Result<(), EffectError> {
        refused(codes::STATE_DENIED, "a change of the state")
    }
}
