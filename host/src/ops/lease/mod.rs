//! The lease on a target, as operations use it: who has it, waiting for it,
//! taking it from a dead process, and breaking it on request.

pub mod actor;
pub mod break_lease;
pub mod holder;
pub mod on_target;
pub mod orphans;
pub mod reclaim;
pub mod status;
pub mod wait;
