//! Deadlines and bounds of a connection.

use crate::auth::rsa::is_sha1;
use crate::host_key::Expected;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// For one connection, from name resolution to the end of the login.
    pub connect_timeout: Duration,
    /// Silence after which the server is pinged.
    pub keepalive: Duration,
    /// Unanswered pings after which the connection counts as dead, one silence
    /// later.
    pub keepalive_misses: usize,
    /// Commands at once; sshd allows 10 sessions on a connection by default.
    pub max_channels: usize,
}

impl Default for ConnectionLimits {
    /// 30 s to connect. A silent connection is dead after 15 s: a new one must be
    /// there before the lease on the target expires, 30 s after its renewal.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(5),
            keepalive_misses: 2,
            max_channels: 8,
        }
    }
}

impl ConnectionLimits {
    /// The same with another keepalive, if there is one.
    pub fn with_keepalive(self, keepalive: Option<Duration>) -> Self {
        Self {
            keepalive: keepalive.unwrap_or(self.keepalive),
            ..self
        }
    }

    /// The same for russh. Of several kinds of host keys, prefers one that
    /// `expected` knows.
    pub(crate) fn russh(&self, expected: &Expected) -> Arc<russh::client::Config> {
        let mut preferred = russh::Preferred::DEFAULT;
        let mut kinds = preferred.key.to_vec();
        kinds.retain(|kind| !is_sha1(kind));
        // Ciphers with hardware support first: several times as fast.
        let mut ciphers = preferred.cipher.into_owned();
        ciphers.sort_by_key(|name| *name != russh::cipher::AES_256_GCM);
        preferred.cipher = ciphers.into();
        if let Expected::Known { known, .. } = expected {
            kinds.sort_by_key(|kind| !known.has_kind(kind));
            if known.has_authority() {
                preferred.host_key_certificates = kinds.clone().into();
            }
        }
        preferred.key = kinds.into();
        Arc::new(russh::client::Config {
            window_size: 4 * 1024 * 1024,
            keepalive_interval: Some(self.keepalive),
            keepalive_max: self.keepalive_misses,
            preferred,
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_host_key_is_asked_for_that_signs_with_sha1() {
        let config = ConnectionLimits::default().russh(&Expected::Anything);
        let names: Vec<String> = config.preferred.key.iter().map(|k| k.to_string()).collect();
        assert!(!names.contains(&"ssh-rsa".to_owned()), "{names:?}");
        for name in ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
    }
}
