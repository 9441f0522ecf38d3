//! A second platform for the tests, written from what is known of the Vers
//! API and from nothing of the host: VMs of Linux namespaces with a real
//! `sshd`, TLS with names in front of them, a REST API that can be made to
//! fail, a git server and an npm registry that can be taken away.
//!
//! It shares no code with the local cloud inside of `vdeploy`, so that one
//! misreading of the platform is not made twice.

mod api;
mod calls;
mod certificates;
mod cloud;
pub mod fault;
mod front;
mod line;
mod machine;
mod outer;
mod place;
mod processes;
mod reply;
mod vm;
mod watched;
mod world;

pub use line::{Line, Pace};
pub use place::{Kind, Made, Place};
pub use vm::Vm;
pub use watched::{Came, Counts, Told};
pub use world::{Compiler, World};
