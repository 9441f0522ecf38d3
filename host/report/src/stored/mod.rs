//! What is said of stored runs.

pub mod difference;
pub mod prune;
pub mod runs;
