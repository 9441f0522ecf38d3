//! One execution of a plan on one target: what to do next (`machine`), doing
//! it (`driver`), and what to say of the result (`verdict`).

pub mod driver;
pub mod lease;
mod look;
pub mod machine;
mod names;
pub mod prepare;
#[cfg(test)]
mod properties;
pub mod recorded;
pub mod replay;
pub mod resume_state;
pub mod target_lease;
pub mod verdict;

pub use driver::{Execution, Finished};
pub use replay::Replayed;
pub use resume_state::ResumeState;
