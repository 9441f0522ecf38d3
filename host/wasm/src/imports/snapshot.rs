//! snapshot.

use super::error;
use crate::bindings::vdeploy::plugin::{snapshot, types};
use crate::call::state::HostState;
use vdeploy_core::ids::{SnapshotId, VmId};
use wasmtime::Result;

impl snapshot::Host for HostState {
    async fn create(&mut self, label: String) -> Result<Result<String, types::Error>> {
        self.last_call = Some(format!("snapshot.create {label}"));
        let made = self.gate.snapshot_create(&label).await;
        Ok(made.map(|id| id.to_string()).map_err(error))
    }
    async fn restore(&mut self, id: String) -> Result<Result<String, types::Error>> {
        self.last_call = Some(format!("snapshot.restore {id}"));
        let made = self.gate.snapshot_restore(&SnapshotId::new(id)).await;
        Ok(made.map(|vm| vm.to_string()).map_err(error))
    }
    async fn exists(&mut self, id: String) -> Result<Result<bool, types::Error>> {
        self.last_call = Some(format!("snapshot.exists {id}"));
        Ok(self
            .gate
            .snapshot_exists(&SnapshotId::new(id))
            .await
            .map_err(error))
    }
    async fn pause_old(&mut self, vm: String) -> Result<Result<(), types::Error>> {
        self.last_call = Some(format!("snapshot.pause-old {vm}"));
        Ok(self
            .gate
            .snapshot_pause_old(&VmId::new(vm))
            .await
            .map_err(error))
    }
    async fn declare(&mut self, id: String, label: String) -> Result<Result<(), types::Error>> {
        self.last_call = Some(format!("snapshot.declare {id}"));
        let id = SnapshotId::new(id);
        let declared = self.gate.snapshot_declare(&id, &label).await;
        Ok(declared.map_err(error))
    }
}
