//! A world that the session was given in place of what the project's target says.

use super::ResolvedTarget;
use crate::error::OpsError;
use std::fmt;
use std::sync::Arc;
use vdeploy_core::capability::World;
use vdeploy_core::capability::secrets::LoadedSecrets;
use vdeploy_core::ids::{RunId, TargetName, VmId};
use vdeploy_journal::Store;

/// What a world is made for.
#[derive(Debug)]
pub struct WorldParts {
    pub target: TargetName,
    /// Where the target is now, if it is a VM.
    pub vm: Option<VmId>,
    pub run: RunId,
    pub secrets: LoadedSecrets,
    pub store: Arc<dyn Store>,
}

/// Makes worlds that no configuration describes, for rehearsals and tests.
pub trait WorldFactory: Send + Sync + fmt::Debug {
    /// The VM that stands for the one of the project, if the target is a VM.
    fn vm(&self) -> Option<VmId>;
    /// Everything that a run can touch.
    ///
    /// # Errors
    /// There is no such world.
    fn world(&self, parts: WorldParts) -> Result<World, OpsError>;
}

#[derive(Debug)]
pub(super) struct Given(pub Arc<dyn WorldFactory>);

impl ResolvedTarget for Given {
    fn vm(&self) -> Option<VmId> {
        self.0.vm()
    }

    fn world(self: Box<Self>, parts: WorldParts) -> Result<World, OpsError> {
        self.0.world(parts)
    }
}
