//! Why a connection to a target cannot be made, in words that say what to do.

use super::connect::Peer;
use super::host_key::{Mismatch, fingerprint};
use super::login::Refused;
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
    #[error("the name {} cannot be resolved ({source}); {}", .peer.dial_host, .peer.advice)]
    Resolve { peer: Peer, source: io::Error },
    #[error("{peer} cannot be reached: {source}; {}", .peer.advice)]
    Tcp { peer: Peer, source: io::Error },
    #[error(
        "the TLS certificate of {peer} is not accepted: {why}; set `ca-file` to the CA that signed it, or `tls-verify = false` on a trusted network"
    )]
    Certificate { peer: Peer, why: String },
    #[error("TLS with {peer} failed: {why}; the port must speak SSH inside TLS")]
    Tls { peer: Peer, why: String },
    #[error("{peer} did not answer within {} s; {}", .after.as_secs_f64(), .peer.advice)]
    Deadline { peer: Peer, after: Duration },
    #[error("{peer} ended the SSH handshake: {why}")]
    Handshake { peer: Peer, why: String },
    #[error("{}", host_key_text(host, key))]
    HostKey { host: String, key: Box<Mismatch> },
    #[error(
        "{host} does not accept the key of the platform for user `{user}`; check `user` and the VM's authorized_keys"
    )]
    Auth { host: String, user: String },
    #[error("{}", login_text(host, user, refused))]
    Login {
        host: String,
        user: String,
        refused: Box<Refused>,
    },
}

fn host_key_text(host: &str, key: &Mismatch) -> String {
    let shown = fingerprint(&key.shown);
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

fn login_text(host: &str, user: &str, refused: &Refused) -> String {
    let Refused {
        tried,
        remarks,
        ended,
    } = refused;
    let mut text = match tried.is_empty() {
        true => format!("there is no key to log in at {host} as `{user}` with"),
        false => format!(
            "{host} does not let `{user}` in; tried: {}",
            tried.join(", ")
        ),
    };
    if let Some(ended) = ended {
        text.push_str(&format!("; {ended}"));
    }
    for remark in remarks {
        text.push_str(&format!("; {remark}"));
    }
    if ended.is_none() {
        text.push_str(match tried.is_empty() {
            true => "; name one: identity-file = \"PATH\" in the target",
            false => {
                "; check `user`, and that the public half of the key is in authorized_keys there"
            }
        });
    }
    text
}

impl ConnectError {
    /// The connection broke before anybody was logged in.
    pub(super) fn handshake(peer: &Peer, error: &russh::Error) -> Self {
        ConnectError::Handshake {
            peer: peer.clone(),
            why: error.to_string(),
        }
    }

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

    /// Whether nobody was let in: a server that has just started may change
    /// its mind.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, ConnectError::Auth { .. } | ConnectError::Login { .. })
    }
}

impl From<ConnectError> for EffectError {
    fn from(error: ConnectError) -> Self {
        let (kind, code) = match &error {
            ConnectError::Key(inner) => return inner.clone(),
            ConnectError::NoVm => (ErrorKind::Invalid, "ssh.invalid"),
            ConnectError::BadKey { .. }
            | ConnectError::Auth { .. }
            | ConnectError::Login { .. } => (ErrorKind::Failed, "ssh.auth"),
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
