//! One execution of a plan on one target: what to do next (`machine`), doing
//! it (`driver`), and what to say of the result (`outcome_message`).

mod call;
pub mod driver;
pub mod machine;
mod names;
mod outcome_message;
pub mod prepare;
mod preview;
#[cfg(test)]
mod properties;
pub mod replay;
pub mod resume_state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;

pub use driver::{Execution, Finished};
pub use replay::Replayed;
pub use resume_state::ResumeState;
