//! What every layer of the host shares: ids, the plan, events, the capability
//! traits with their scopes and masking. Nothing here touches the outside world
//! but the system's clock.

pub mod actor;
pub mod backoff;
pub mod capability;
pub mod clean;
pub mod codes;
pub mod event;
pub mod ids;
pub mod plan;
pub mod target;
