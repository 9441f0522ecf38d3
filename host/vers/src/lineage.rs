//! Whether a commit belongs to a VM: taken of it, or of a VM that it descends from.

use super::api::client::VersClient;
use super::api::error::VersError;
use super::api::types::Commit;
use vdeploy_core::ids::{SnapshotId, VmId};

impl VersClient {
    /// Whether the commit was taken of `vm` or of an ancestor, or is an ancestor of
    /// `vm` itself. False where the platform does not tell.
    pub(super) async fn is_of_line(
        &self,
        commit: &SnapshotId,
        vm: &VmId,
    ) -> Result<bool, VersError> {
        let Some(line) = self.line(commit).await? else {
            return Ok(false);
        };
        let own = line.iter().find(|one| one.commit_id == *commit);
        let taken_of = own.and_then(|one| one.parent_vm_id.as_ref());
        if taken_of == Some(vm) {
            return Ok(true);
        }
        let Some(made_of) = self.metadata(vm).await?.parent_commit_id else {
            return Ok(false);
        };
        let earlier = self.line(&made_of).await?.unwrap_or_default();
        Ok(earlier.iter().any(|one| {
            let same_vm = taken_of.is_some() && one.parent_vm_id.as_ref() == taken_of;
            one.commit_id == *commit || same_vm
        }))
    }

    /// The commit and its ancestors; `None` when the platform does not know it.
    pub(super) async fn line(&self, commit: &SnapshotId) -> Result<Option<Vec<Commit>>, VersError> {
        match self.parents(commit).await {
            Ok(line) => Ok(Some(line)),
            // 400 and 422: this cannot be the id of a commit.
            Err(
                VersError::NotFound { .. }
                | VersError::NotYours { .. }
                | VersError::Status {
                    status: 400 | 422, ..
                },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
