//! Connects to a target without a run: to read its lease, or to reconcile what
//! a run left there.

use super::WorldParts;
use crate::error::{OpsError, OpsErrorKind};
use crate::session::Session;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use vdeploy_config::SecretNeeds;
use vdeploy_core::capability::World;
use vdeploy_core::ids::RunId;
use vdeploy_journal::{Store, relocations};

/// Connecting has deadlines of its own within this one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Connects to where the target is now.
///
/// # Errors
/// Its secrets are missing, or it cannot be reached.
pub async fn connect(
    session: &Session,
    target: Option<&str>,
    store: Arc<dyn Store>,
) -> Result<World, OpsError> {
    let (name, target) = session.target(target)?;
    let mut needs = SecretNeeds::default();
    for key in target.kind().secrets() {
        needs.add(&key.value, format!("target `{name}`"));
    }
    let fetched = session.secrets(&needs).await;
    let secrets = fetched.map_err(|missing| {
        let all: Vec<_> = missing.iter().map(ToString::to_string).collect();
        OpsError::new(OpsErrorKind::Refused, all.join("\n"))
    })?;
    let resolved = super::resolve(session, target, &secrets).await?;
    let vm = resolved
        .vm()
        .map(|vm| relocations::current_vm(&*store, &name, &vm))
        .transpose()?;
    let world = resolved.world(WorldParts {
        target: name,
        vm,
        run: RunId::generate(),
        secrets,
        store,
    })?;
    let unreachable = |why: String| OpsError::new(OpsErrorKind::Unreachable, why);
    match timeout(CONNECT_TIMEOUT, world.ssh.connect()).await {
        Ok(Ok(())) => Ok(world),
        Ok(Err(error)) => Err(unreachable(error.message)),
        Err(_) => Err(unreachable(format!(
            "no connection within {} s",
            CONNECT_TIMEOUT.as_secs()
        ))),
    }
}
