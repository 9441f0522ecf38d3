//! One execution of a plan on one target: what to do next (`machine`), doing
//! it (`driver`), and what to say of the result (`verdict`).

pub mod driver;
pub mod earlier;
mod look;
pub mod machine;
mod names;
pub mod prepare;
#[cfg(test)]
mod properties;
pub mod recorded;
pub mod replay;
pub mod verdict;

pub use driver::{Execution, Finished};
pub use earlier::SoFar;
pub use replay::Replayed;
