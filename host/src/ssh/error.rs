//! Why a connection to a target cannot be made, in words that say what to do.

use super::host_key::Mismatch;
use crate::capability::{EffectError, ErrorKind};
use std::io;
use std::time::Duration;

/// What stopped a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the target has no VM to connect to; name one in the project file")]
    NoVm,
    #[error("{0}")]
    Key(EffectError),
    #[error(
        "the SSH key of {vm} cannot be read ({why}); the platform must give an unencrypted private key"
    )]
    BadKey { vm: String, why: String },
    #[error(
        "the name {host} cannot be resolved ({source}); check the VM id, `vm-domain` and the network"
    )]
    Resolve { host: String, source: io::Error },
    #[error(
        "{host} ({dial}) cannot be reached: {source}; check that the VM is running and the network"
    )]
    Tcp {
        host: String,
        dial: String,
        source: io::Error,
    },
    #[error(
        "the TLS certificate of {host} ({dial}) is not accepted: {why}; set `ca-file` to the CA that signed it, or `tls-verify = false` on a trusted network"
    )]
    Certificate {
        host: String,
        dial: String,
        why: String,
    },
    #[error("TLS with {host} ({dial}) failed: {why}; the port must speak SSH inside TLS")]
    Tls {
        host: String,
        dial: String,
        why: String,
    },
    #[error("{host} ({dial}) did not answer within {} s; check that the VM is running", .after.as_secs_f64())]
    Deadline {
        host: String,
        dial: String,
        after: Duration,
    },
    #[error("{host} ({dial}) ended the SSH handshake: {why}")]
    Handshake {
        host: String,
        dial: String,
        why: String,
    },
    #[error("{}", host_key_text(host, key))]
    HostKey { host: String, key: Mismatch },
    #[error(
        "{host} does not accept the key of the platform for user `{user}`; check `user` and the VM's authorized_keys"
    )]
    Auth { host: String, user: String },
}

fn host_key_text(host: &str, key: &Mismatch) -> String {
    let shown = &key.shown;
    match &key.expected {
        Some(expected) => format!(
            "{host} shows the host key {shown} but {expected} is expected; somebody may be in \
             between: compare with the key on the VM (`ssh-keygen -lf \
             /etc/ssh/ssh_host_ed25519_key.pub`), and only if it is right set `host-key` to it"
        ),
        None => format!(
            "the host key {shown} of {host} is not known yet; compare with the key on the VM, \
             then set `host-key` to it"
        ),
    }
}

impl ConnectError {
    /// Whether trying again cannot help.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            ConnectError::HostKey { .. }
                | ConnectError::Certificate { .. }
                | ConnectError::NoVm
                | ConnectError::BadKey { .. }
        ) || matches!(self, ConnectError::Key(e)
            if !matches!(e.kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::NotFound))
    }
}

impl From<ConnectError> for EffectError {
    fn from(error: ConnectError) -> Self {
        let (kind, code) = match &error {
            ConnectError::Key(inner) => return inner.clone(),
            ConnectError::NoVm => (ErrorKind::Invalid, "ssh.invalid"),
            ConnectError::BadKey { .. } | ConnectError::Auth { .. } => {
                (ErrorKind::Failed, "ssh.auth")
            }
            ConnectError::Resolve { .. }
            | ConnectError::Tcp { .. }
            | ConnectError::Deadline { .. }
            | ConnectError::Handshake { .. } => (ErrorKind::Unavailable, "ssh.unreachable"),
            ConnectError::Certificate { .. } | ConnectError::Tls { .. } => {
                (ErrorKind::Failed, "ssh.tls")
            }
            ConnectError::HostKey { .. } => (ErrorKind::Denied, "ssh.host-key"),
        };
        EffectError::new(kind, code, error.to_string())
    }
}
