//! One execution of a plan on one target: what to do next (`machine`), doing
//! it (`driver`), and what to say of the result (`outcome_message`).

pub mod driver;
pub mod earlier;
pub mod lease;
mod preview;
pub mod machine;
mod names;
pub mod prepare;
#[cfg(test)]
mod properties;
pub mod trace;
pub mod replay;
pub mod target_lease;
mod outcome_message;

pub use driver::{Execution, Finished};
pub use earlier::SoFar;
pub use replay::Replayed;
