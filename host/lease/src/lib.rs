//! The lease on a target: at most one run changes a target at a time.
//!
//! It is kept twice. The store excludes the runs of one machine ([`store`]); the
//! target itself excludes runs whose stores know nothing of each other
//! ([`target`]). One loop renews both ([`renew`]), and says until when a lease
//! is certainly held ([`validity`]).

pub mod holder;
pub mod orphans;
pub mod process;
pub mod reclaim;
pub mod renew;
pub mod store;
pub mod target;
pub mod times;
pub mod validity;
pub mod wait;

pub use holder::LeaseHolder;
pub use renew::LeaseLost;
pub use store::StoreLease;
pub use target::TargetLease;
pub use times::LeaseTimes;
pub use validity::{BootInstant, LeaseValidity};
