//! Whether a call may be made: the decision as a pure function, and the facts that
//! it and its caller need.

pub mod budget;
pub mod lease_guard;
pub mod lineage;
pub mod rules;
