//! The SSH server of a VM.

mod command;
pub(crate) mod server;
