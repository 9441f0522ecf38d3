//! Who holds a target: what the store says, and what the target says when it
//! can be reached. The way there is the same as a run's, without its plan.

use crate::capability::World;
use crate::capability::clock::{Clock as _, SystemClock};
use crate::cli::doctor::Overlay;
use crate::cli::error::CliError;
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::start;
use crate::cli::visit::reach;
use crate::ids::TargetName;
use crate::journal::Store;
use crate::journal::breaks::{self, LeaseBreak};
use crate::journal::store::Holder;
use crate::run::lease::DEFAULT_TTL;
use crate::run::target_lease::{self, TargetHolder};
use std::sync::Arc;

/// What was found.
#[derive(Debug)]
pub(super) struct Looked {
    pub target: TargetName,
    /// Milliseconds since 1970 when it was looked.
    pub now: u64,
    pub stored: Option<Holder>,
    pub there: There,
    pub last_break: Option<LeaseBreak>,
}

/// What the target says.
#[derive(Debug)]
pub(super) enum There {
    Nobody,
    Held(TargetHolder),
    /// It could not be asked, for this reason.
    Unknown(String),
}

impl Looked {
    pub(super) fn exit(&self) -> ExitCode {
        match self.there {
            There::Unknown(_) => ExitCode::Unreachable,
            _ => ExitCode::Success,
        }
    }
}

/// Looks and leaves nothing: no host key is pinned for it.
pub(super) async fn only(session: &Session, target: Option<&str>) -> Result<Looked, CliError> {
    let store = Arc::new(Overlay::over(Some(session.store()?))?);
    let (looked, world) = both(session, target, store).await?;
    if let Some(world) = world {
        world.ssh.close().await;
    }
    Ok(looked)
}

/// Looks; the connection for more, where there is one.
pub(super) async fn both(
    session: &Session,
    target: Option<&str>,
    store: Arc<dyn Store>,
) -> Result<(Looked, Option<World>), CliError> {
    let (name, _) = start::target(&session.project, target)?;
    let now = SystemClock.now_unix_ms();
    let stored = store.lease_holder(&name)?;
    let last_break = breaks::newest(&*store, &name)?;
    let (world, there) = match reach(session, target, store).await {
        Ok(world) => {
            let there = match target_lease::holder(&*world.ssh, DEFAULT_TTL).await {
                Ok(None) => There::Nobody,
                Ok(Some(holder)) => There::Held(holder),
                Err(error) => There::Unknown(error.to_string()),
            };
            (Some(world), there)
        }
        Err(error) => (None, There::Unknown(error.message)),
    };
    let looked = Looked {
        target: name,
        now,
        stored,
        there,
        last_break,
    };
    Ok((looked, world))
}
