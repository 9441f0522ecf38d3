//! secrets and secrets-reveal.

use super::error;
use crate::bindings::vdeploy::plugin::{secrets, secrets_reveal, types};
use crate::call::state::{HANDLE, HostState};
use vdeploy_core::capability::secrets::Secret;
use wasmtime::Result;
use wasmtime::component::Resource;

impl secrets::HostSecret for HostState {
    async fn drop(&mut self, secret: Resource<Secret>) -> Result<()> {
        self.table.delete(secret)?;
        self.release(HANDLE);
        Ok(())
    }
}

impl secrets::Host for HostState {
    async fn get(&mut self, name: String) -> Result<Result<Resource<Secret>, types::Error>> {
        self.last_call = Some(format!("secrets.get {name}"));
        match self.gate.secret(&name).await {
            Ok(secret) => {
                self.hold(HANDLE)?;
                Ok(Ok(self.table.push(secret)?))
            }
            Err(e) => Ok(Err(error(e))),
        }
    }
}

impl secrets_reveal::Host for HostState {
    async fn reveal(&mut self, secret: Resource<Secret>) -> Result<Result<String, types::Error>> {
        let secret = self.table.get(&secret)?.clone();
        self.last_call = Some(format!("secrets-reveal.reveal {}", secret.name));
        Ok(self.gate.reveal(&secret).await.map_err(error))
    }
}
