//! One execution of a plan on one target: what to do next (`machine`), doing
//! it (`driver`), and what to say of the result (`outcome_message`).

pub mod driver;
pub mod lease;
pub mod machine;
mod names;
mod outcome_message;
pub mod prepare;
mod preview;
#[cfg(test)]
mod properties;
pub mod replay;
pub mod resume_state;
pub mod target_lease;
pub mod trace;

pub use driver::{Execution, Finished};
pub use replay::Replayed;
pub use resume_state::ResumeState;
