//! What vdeploy does, as a library: a program opens a [`Session`], prepares an
//! [`Operation`] and executes it.
//!
//! Nothing here prints, reads the environment or the arguments of the process,
//! ends the process, or keeps global state. All of that comes in as values
//! ([`SessionOptions`]) and goes out as values and events.

pub mod abandon;
mod checks;
pub mod doctor;
pub mod error;
pub mod execute;
pub mod history;
pub mod lease;
pub mod operation;
pub mod options;
mod overlay;
pub mod prepare;
pub mod prune;
pub mod recording;
pub mod replay;
pub mod session;
pub mod target;

pub use abandon::{Abandon, Abandoned};
pub use error::{OpsError, OpsErrorKind};
pub use execute::Cancel;
pub use operation::{Deploy, Operation, Resume, Rollback};
pub use options::{Environment, Notice, SessionOptions};
pub use prepare::Prepared;
pub use replay::{PreparedReplay, Replay};
pub use session::Session;
pub use vdeploy_core::actor::Actor;
