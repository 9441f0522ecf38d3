//! What listens for clients: the gateway (SSH in TLS) and the HTTP router.

pub(crate) mod certs;
pub(crate) mod gateway;
pub(crate) mod peek;
pub(crate) mod router;
