//! Connections over russh: how one is made, and the sessions on it.

pub(crate) mod connect;
pub(crate) mod limits;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod session_pool;
mod transport;
pub(crate) mod vm;
