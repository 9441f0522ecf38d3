//! Everything a run can touch, in one struct, built once and passed down.

use super::clock::Clock;
use super::http::Http;
use super::leases::Leases;
use super::secrets::Secrets;
use super::snapshot::Snapshot;
use super::ssh::Ssh;
use super::state::State;
use crate::target::TargetHandle;
use std::sync::Arc;

/// The outside of one run.
#[derive(Clone, Debug)]
pub struct World {
    /// Where the run's target is now.
    pub target: TargetHandle,
    /// Whether the run surely holds it.
    pub leases: Leases,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// HTTP from the host.
    pub http: Arc<dyn Http>,
    /// Commands on the target.
    pub ssh: Arc<dyn Ssh>,
    /// Snapshots of the target.
    pub snapshot: Arc<dyn Snapshot>,
    /// The project's secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Plugin state.
    pub state: Arc<dyn State>,
}
