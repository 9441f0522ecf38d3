//! The client and the snapshots against a fake of the API that answers as the
//! platform was seen to answer, faults included.

mod calls;
mod conflicts;
mod conflicts_ssh;
mod fake;
mod lineage;
mod reconcile;
mod registry;
mod restore;
