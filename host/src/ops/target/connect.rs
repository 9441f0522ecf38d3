//! The way to a target without a run: for who looks at its lease, or settles
//! what a run left there.

use super::error::CliError;
use super::exit::ExitCode;
use super::session::Session;
use super::{registry, start, world};
use crate::capability::World;
use crate::config::{self, SecretNeeds};
use crate::ids::RunId;
use crate::journal::{Store, moves};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Connecting has deadlines of its own within this one.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connects to where the target is now.
pub async fn reach(
    session: &Session,
    target: Option<&str>,
    store: Arc<dyn Store>,
) -> Result<World, CliError> {
    let project = &session.project;
    let (name, target) = start::target(project, target)?;
    let mut needs = SecretNeeds::default();
    for key in target.secrets() {
        needs.add(&key.value, format!("target `{name}`"));
    }
    let fetched = config::fetch_secrets(project, &needs).await;
    let secrets = fetched.map_err(|missing| {
        let all: Vec<_> = missing.iter().map(ToString::to_string).collect();
        CliError::new(ExitCode::Refused, all.join("\n"))
    })?;
    let (target, _) = registry::settled(target, &secrets).await?;
    let route = world::route(project, &target, &secrets, &session.state_dir)?;
    let vm = route
        .vm()
        .map(|vm| moves::current_vm(&*store, &name, vm))
        .transpose()?;
    let world = world::build(route, name, vm, RunId::generate(), secrets, store)?;
    let unreachable = |why: String| CliError::new(ExitCode::Unreachable, why);
    match timeout(PATIENCE, world.ssh.connect()).await {
        Ok(Ok(())) => Ok(world),
        Ok(Err(error)) => Err(unreachable(error.message)),
        Err(_) => Err(unreachable(format!(
            "no connection within {} s",
            PATIENCE.as_secs()
        ))),
    }
}
