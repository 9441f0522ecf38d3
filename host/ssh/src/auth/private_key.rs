//! The private key of a VM: from a source, kept in memory only.

use crate::error::ConnectError;
use async_trait::async_trait;
use russh::keys::PrivateKey;
use std::fmt::Debug;
use std::sync::Arc;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::ids::VmId;

/// Where the private key of a VM comes from.
#[async_trait]
pub trait KeySource: Send + Sync + Debug {
    /// The key in OpenSSH or PEM form, not encrypted.
    async fn private_key(&self, vm: &VmId) -> Result<SecretValue, EffectError>;
}

#[derive(Clone)]
pub(crate) struct LoadedKey(pub(crate) Arc<PrivateKey>);

impl LoadedKey {
    pub(crate) async fn load(source: &dyn KeySource, vm: &VmId) -> Result<Self, ConnectError> {
        let text = source.private_key(vm).await.map_err(ConnectError::Key)?;
        match russh::keys::decode_secret_key(text.expose(), None) {
            Ok(key) => Ok(Self(Arc::new(key))),
            Err(e) => Err(ConnectError::BadKey {
                vm: vm.to_string(),
                why: e.to_string(),
            }),
        }
    }
}
