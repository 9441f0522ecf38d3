//! One execution of a plan on one target.

pub mod event;
pub mod lease;
pub mod outcome;

pub use event::RunEvent;
pub use outcome::Outcome;
