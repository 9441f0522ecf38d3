//! One file a command.

pub mod abandon;
pub mod doctor;
mod export;
pub mod init;
pub mod lease;
pub mod local;
pub mod plan;
pub mod plugin;
pub mod prune;
pub mod replay;
pub mod resume;
pub mod rollback;
pub mod run;
pub mod runs;
