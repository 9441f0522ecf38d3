//! Why a connection to a target failed, with what to do about it.

use crate::auth::login::LoginFailure;
use crate::auth::rsa::ONLY_SHA1;
use crate::connection::connect::Peer;
use crate::host_key::{Mismatch, Refusal, fingerprint};
use crate::transport::Endpoint;
use russh::AlgorithmKind;
use std::io;
use std::time::Duration;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_net::tls::cause;

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
    Tls {
        peer: Peer,
        why: String,
        /// The other end closed the connection.
        closed: bool,
    },
    #[error("{peer} did not answer within {} s; {}", .after.as_secs_f64(), .peer.advice)]
    Deadline { peer: Peer, after: Duration },
    #[error("{peer} ended the SSH handshake: {why}; {}", .peer.advice)]
    Handshake {
        peer: Peer,
        why: String,
        /// The other end closed the connection.
        closed: bool,
    },
    #[error(
        "{peer} proves its host key with SHA-1 (`ssh-rsa`) only, which can be forged and is refused; \
         give the server an Ed25519 host key (`ssh-keygen -A` there), or allow rsa-sha2-512 in \
         `HostKeyAlgorithms` of its sshd_config"
    )]
    WeakHostKey { peer: Peer },
    #[error("the jump host {jump} does not reach {peer}: {why}; {}", .peer.advice)]
    Jump {
        peer: Peer,
        jump: String,
        why: String,
    },
    #[error("ProxyCommand to {peer}: {why}")]
    Proxy { peer: Peer, why: String },
    #[error("{}", host_key_text(host, key))]
    HostKey { host: String, key: Box<Mismatch> },
    #[error(
        "{host} does not accept the key of the platform for user `{user}`; check `user` and the VM's authorized_keys"
    )]
    Auth { host: String, user: String },
    #[error("{host}: {ONLY_SHA1}")]
    WeakUserKey { host: String },
    #[error("{}", login_text(host, user, failure))]
    Login {
        host: String,
        user: String,
        failure: Box<LoginFailure>,
    },
}

fn host_key_text(host: &str, key: &Mismatch) -> String {
    let shown = fingerprint(&key.shown);
    let between = "this may be a man in the middle: compare with the key on the target (`ssh-keygen -lf \
                   /etc/ssh/ssh_host_ed25519_key.pub`)";
    match &key.why {
        Refusal::Other { expected } => format!(
            "{host} shows the host key {shown} but {expected} is expected; {between}, and only if \
             it is right set `host-key` to it"
        ),
        Refusal::NotStored => format!(
            "the host key {shown} of {host} is not known yet; compare with the key on the target, \
             then set `host-key` to it"
        ),
        Refusal::Unknown { name, file } => {
            let kind = key.shown.algorithm();
            let file = file.as_ref().map(|f| f.display().to_string());
            let line = key.shown.to_openssh().unwrap_or_default();
            // Leave out the comment: the server did not send it.
            let line: Vec<&str> = line.split(' ').take(2).collect();
            format!(
                "the host key of {host} is not known: it shows {shown} ({kind}); compare with the \
                 key on the target (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), and only \
                 if it is right write host-key = \"{shown}\" in the target, or add this line to \
                 {}:\n  {name} {}",
                file.as_deref().unwrap_or("the file of `known-hosts`"),
                line.join(" "),
            )
        }
        Refusal::Changed { place, expected } => format!(
            "{host} shows the host key {shown} but {place} has {expected} for it; {between}, and \
             only if it is right replace that line"
        ),
        Refusal::Revoked { place } => format!(
            "{host} shows the host key {shown}, which {place} revokes: nobody must accept it; the \
             server needs another host key"
        ),
        Refusal::Certificate { place, why } => format!(
            "{host} shows a certificate of the authority of {place}, but {why}; the server needs \
             another certificate"
        ),
    }
}

fn login_text(host: &str, user: &str, failure: &LoginFailure) -> String {
    let LoginFailure {
        tried,
        remarks,
        ended,
    } = failure;
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
    /// The connection broke before the login.
    pub(super) fn handshake(peer: &Peer, error: &russh::Error) -> Self {
        if let russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            theirs,
            ..
        } = error
            && theirs.iter().any(|name| name == "ssh-rsa")
        {
            return ConnectError::WeakHostKey { peer: peer.clone() };
        }
        // An end and a reset mean the same: they differ only in whether the other
        // end had read everything.
        let closed = match error {
            russh::Error::IO(error) => is_end(error),
            russh::Error::HUP | russh::Error::Disconnect => true,
            _ => false,
        };
        let why = match error {
            _ if closed => "the connection was closed at the other end".to_owned(),
            russh::Error::IO(error) => cause(error),
            other => other.to_string(),
        };
        ConnectError::Handshake {
            peer: peer.clone(),
            why,
            closed,
        }
    }

    /// Whether the server cut the connection before the login. A server with many
    /// logins in progress does that (`MaxStartups`).
    pub(super) fn is_handshake_cut(&self) -> bool {
        matches!(
            self,
            ConnectError::Handshake { closed: true, .. } | ConnectError::Tls { closed: true, .. }
        )
    }

    /// Whether a retry cannot help.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            ConnectError::HostKey { .. }
                | ConnectError::WeakHostKey { .. }
                | ConnectError::Certificate { .. }
                | ConnectError::NoVm
                | ConnectError::BadKey { .. }
                | ConnectError::WeakUserKey { .. }
        ) || matches!(self, ConnectError::Key(e)
            if !matches!(e.kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::NotFound))
    }

    /// Whether the login was refused: a server that boots may refuse for a
    /// moment.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, ConnectError::Auth { .. } | ConnectError::Login { .. })
    }
}

/// Nothing was run.
pub(super) fn too_many_sessions(
    endpoint: &Endpoint,
    reason: &russh::ChannelOpenFailure,
) -> EffectError {
    EffectError::new(
        ErrorKind::Unavailable,
        codes::SSH_REFUSED,
        format!(
            "{endpoint} refused one more session ({reason:?}); check MaxSessions of its SSH server"
        ),
    )
}

/// Whether the other end closed the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

impl From<ConnectError> for EffectError {
    fn from(error: ConnectError) -> Self {
        let (kind, code) = match &error {
            ConnectError::Key(inner) => return inner.clone(),
            ConnectError::NoVm => (ErrorKind::Invalid, codes::SSH_INVALID),
            ConnectError::BadKey { .. }
            | ConnectError::Auth { .. }
            | ConnectError::WeakUserKey { .. }
            | ConnectError::Login { .. } => (ErrorKind::Failed, codes::SSH_AUTH),
            ConnectError::Resolve { .. }
            | ConnectError::Tcp { .. }
            | ConnectError::Deadline { .. }
            | ConnectError::Jump { .. }
            | ConnectError::Proxy { .. }
            | ConnectError::Handshake { .. } => (ErrorKind::Unavailable, codes::SSH_UNREACHABLE),
            ConnectError::Certificate { .. } | ConnectError::Tls { .. } => {
                (ErrorKind::Failed, codes::SSH_TLS)
            }
            ConnectError::HostKey { .. } | ConnectError::WeakHostKey { .. } => {
                (ErrorKind::Denied, codes::SSH_HOST_KEY)
            }
        };
        EffectError::new(kind, code, error.to_string())
    }
}
