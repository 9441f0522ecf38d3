//! A program without the local cloud has no targets on it.

use super::ResolvedVm;
use crate::error::OpsError;
use std::path::Path;
use vdeploy_core::ids::VmId;

pub fn is_running(_: &Path) -> bool {
    false
}

pub fn resolve(_: &Path, _: Option<VmId>) -> Result<ResolvedVm, OpsError> {
    Err(super::without_local_cloud())
}
