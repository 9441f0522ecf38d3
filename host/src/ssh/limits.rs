//! Deadlines and bounds of a connection.

use std::sync::Arc;
use std::time::Duration;

/// Deadlines and bounds of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// For one connection, from the name to the end of the login.
    pub connect_timeout: Duration,
    /// Silence after which the server is asked whether it is there.
    pub keepalive: Duration,
    /// Unanswered questions after which the connection counts as dead.
    pub keepalive_misses: usize,
    /// Commands at once; sshd allows 10 on a connection unless told otherwise.
    pub max_channels: usize,
}

impl Default for Limits {
    /// 30 s to connect, a keepalive each 10 s.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(10),
            keepalive_misses: 6,
            max_channels: 8,
        }
    }
}

impl Limits {
    /// The same for russh.
    pub(super) fn russh(&self) -> Arc<russh::client::Config> {
        let mut preferred = russh::Preferred::DEFAULT;
        // What the processor does itself comes first: several times as fast.
        let mut ciphers = preferred.cipher.into_owned();
        ciphers.sort_by_key(|name| *name != russh::cipher::AES_256_GCM);
        preferred.cipher = ciphers.into();
        Arc::new(russh::client::Config {
            preferred,
            window_size: 4 * 1024 * 1024,
            keepalive_interval: Some(self.keepalive),
            keepalive_max: self.keepalive_misses,
            ..Default::default()
        })
    }
}
