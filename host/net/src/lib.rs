//! What every outgoing connection shares: TLS settings and name resolution.

#[cfg(any(test, feature = "testing"))]
pub mod fixtures;
pub mod resolve;
pub mod tls;
