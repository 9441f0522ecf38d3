//! A program without the local cloud has no targets on it.

use super::{ResolvedTarget, TargetKind};
use crate::error::OpsError;
use crate::session::Session;
use async_trait::async_trait;
use std::path::Path;
use vdeploy_config::LocalTarget;
use vdeploy_core::capability::secrets::LoadedSecrets;

pub fn is_running(_: &Path) -> bool {
    false
}

#[async_trait]
impl TargetKind for LocalTarget {
    async fn resolve(
        &self,
        _: &Session,
        _: &LoadedSecrets,
    ) -> Result<Box<dyn ResolvedTarget>, OpsError> {
        Err(super::without_local_cloud())
    }
}
