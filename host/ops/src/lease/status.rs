//! Who holds a target: what the store says, and what the target says when it
//! can be reached. The connection is made as a run makes it, without its plan.

use crate::error::OpsError;
use crate::overlay::Overlay;
use crate::session::Session;
use crate::target::connect::connect;
use std::sync::Arc;
use vdeploy_core::capability::World;
use vdeploy_core::capability::clock::{Clock as _, SystemClock};
use vdeploy_core::ids::TargetName;
use vdeploy_journal::Store;
use vdeploy_journal::lease_breaks::{self, LeaseBreak};
use vdeploy_journal::store::Holder;
use vdeploy_lease::LeaseHolder;
use vdeploy_lease::target;

/// Who holds a target.
#[derive(Debug)]
pub struct LeaseStatus {
    pub target: TargetName,
    /// Milliseconds since 1970 when the store was read.
    pub now: u64,
    /// By the store of this machine.
    pub stored: Option<Holder>,
    /// By the target itself.
    pub there: OnTargetStatus,
    pub last_break: Option<LeaseBreak>,
}

/// What the target says of its lease.
#[derive(Debug)]
pub enum OnTargetStatus {
    Nobody,
    Held(LeaseHolder),
    /// It could not be asked, for this reason.
    Unknown(String),
}

impl Session {
    /// Reads who holds the target; nothing is stored, and no host key is pinned
    /// for it.
    ///
    /// # Errors
    /// The target is not in the project, or the store cannot be read. A target
    /// that cannot be reached is no error.
    pub async fn lease_status(&self, target: Option<&str>) -> Result<LeaseStatus, OpsError> {
        let store = Arc::new(Overlay::over(Some(self.store()?))?);
        let (status, world) = read(self, target, store).await?;
        if let Some(world) = world {
            world.ssh.close().await;
        }
        Ok(status)
    }
}

/// The status, and the connection where there is one.
pub(super) async fn read(
    session: &Session,
    target: Option<&str>,
    store: Arc<dyn Store>,
) -> Result<(LeaseStatus, Option<World>), OpsError> {
    let (name, _) = session.target(target)?;
    let now = SystemClock.now_unix_ms();
    let stored = store.lease_holder(&name)?;
    let last_break = lease_breaks::newest(&*store, &name)?;
    let (world, there) = match connect(session, target, store).await {
        Ok(world) => {
            let there = match target::holder(&*world.ssh, target::ANSWER_WITHIN).await {
                Ok(None) => OnTargetStatus::Nobody,
                Ok(Some(holder)) => OnTargetStatus::Held(holder),
                Err(error) => OnTargetStatus::Unknown(error.to_string()),
            };
            (Some(world), there)
        }
        Err(error) => (None, OnTargetStatus::Unknown(error.message)),
    };
    let status = LeaseStatus {
        target: name,
        now,
        stored,
        there,
        last_break,
    };
    Ok((status, world))
}
