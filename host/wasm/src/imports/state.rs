//! state.

use super::error;
use crate::bindings::vdeploy::plugin::{state, types};
use crate::call::state::HostState;
use wasmtime::Result;

impl state::Host for HostState {
    async fn get(&mut self, key: String) -> Result<Result<Option<Vec<u8>>, types::Error>> {
        self.last_call = Some(format!("state.get {key}"));
        Ok(self.gate.state_get(&key).await.map_err(error))
    }
    async fn put(&mut self, key: String, value: Vec<u8>) -> Result<Result<(), types::Error>> {
        self.last_call = Some(format!("state.put {key}"));
        Ok(self.gate.state_set(&key, Some(&value)).await.map_err(error))
    }
    async fn delete(&mut self, key: String) -> Result<Result<(), types::Error>> {
        self.last_call = Some(format!("state.delete {key}"));
        Ok(self.gate.state_set(&key, None).await.map_err(error))
    }
}
