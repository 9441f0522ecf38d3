//! Connections over russh: how one is made, and the sessions on it.

pub(crate) mod connect;
pub(crate) mod limits;
pub(crate) mod open;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod session_pool;
pub(crate) mod vm;
