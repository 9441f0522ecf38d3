//! Errors of API calls, with what to do about them.

use std::time::Duration;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_net::tls::TlsError;

/// Why a call failed. `call` names it, for example `commit vm 4f…`; `root` is the
/// API's address; `body` is a short excerpt of the answer without secrets.
#[derive(Debug, thiserror::Error)]
pub enum VersError {
    /// The configured address cannot be used.
    #[error(
        "`{url}` is not an address of the Vers API ({why}); it must look like https://api.vers.sh"
    )]
    BaseUrl { url: String, why: String },
    /// The configured key cannot be one.
    #[error("the API key cannot be used: {0}")]
    KeyForm(&'static str),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
    /// No connection: nothing was sent.
    #[error("{call}: {root} cannot be reached ({why}); check the network and the API's address")]
    Unreachable {
        call: String,
        root: String,
        why: String,
    },
    /// Sent, but no answer in time.
    #[error("{call}: no answer within {} s", .after.as_secs_f64())]
    Timeout { call: String, after: Duration },
    /// Sent, but the connection ended before the answer.
    #[error("{call}: the connection ended before the answer ({why})")]
    Dropped { call: String, why: String },
    /// The key is missing, wrong or expired.
    #[error(
        "{call}: the API key is not accepted (status {status}); check the key and the account it belongs to"
    )]
    Key {
        call: String,
        /// 401 or 403.
        status: u16,
    },
    /// It belongs to another account, or does not exist.
    #[error(
        "{call}: it is not yours or not there (status 403: {body}); check the id and the account of the API key"
    )]
    NotYours { call: String, body: String },
    /// It does not exist.
    #[error("{call}: not found (status {status}: {body}); check the id")]
    NotFound {
        call: String,
        /// 404, or 400 for an id that cannot be one.
        status: u16,
        body: String,
    },
    /// The account's quota is used up.
    #[error(
        "{call}: the account's quota is used up (status {status}: {body}); delete VMs or commits that are not needed, or ask for more"
    )]
    Quota {
        call: String,
        status: u16,
        body: String,
    },
    /// It is a duplicate or still in use.
    #[error("{call}: conflict (status 409: {body})")]
    Conflict { call: String, body: String },
    /// Any other refusal.
    #[error("{call}: status {status}: {body}")]
    Status {
        call: String,
        status: u16,
        body: String,
    },
    /// A success status with a body that cannot be understood.
    #[error("{call}: the answer is not understood ({why}): {body}")]
    Answer {
        call: String,
        why: String,
        body: String,
    },
    /// It may have happened, and reconciliation did not find out.
    #[error("{call}: nobody knows whether it happened ({cause}); {looked}")]
    InDoubt {
        call: String,
        /// Why the answer is missing.
        cause: Box<VersError>,
        /// What was looked at and found.
        looked: String,
    },
    /// A VM did not become what it should.
    #[error("{0}")]
    NotReady(String),
    /// The run is fenced: it sends no changes any more.
    #[error("{call}: {}; the lease was lost: {why}", on_its_way(*begun))]
    Fenced {
        call: String,
        /// How the lease was lost.
        why: String,
        /// Whether the call was on its way.
        begun: bool,
    },
}

fn on_its_way(begun: bool) -> &'static str {
    match begun {
        true => "it was on its way and may have happened",
        false => "it was not asked for",
    }
}

impl VersError {
    /// Whether the call may have had its effect although it failed.
    pub fn maybe_applied(&self) -> bool {
        match self {
            VersError::Timeout { .. }
            | VersError::Dropped { .. }
            | VersError::Answer { .. }
            | VersError::InDoubt { .. } => true,
            VersError::Fenced { begun, .. } => *begun,
            VersError::Status { status, .. } => *status >= 500 || *status == 408,
            _ => false,
        }
    }

    /// Whether a later retry may help.
    pub fn may_pass(&self) -> bool {
        match self {
            VersError::Unreachable { .. }
            | VersError::Timeout { .. }
            | VersError::Dropped { .. }
            | VersError::Answer { .. } => true,
            VersError::Status { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            _ => false,
        }
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            VersError::BaseUrl { .. }
            | VersError::KeyForm(_)
            | VersError::Tls(_)
            | VersError::Setup(_) => ErrorKind::Invalid,
            VersError::Unreachable { .. } | VersError::Dropped { .. } => ErrorKind::Unavailable,
            VersError::Timeout { .. } | VersError::NotReady(_) => ErrorKind::Timeout,
            VersError::Key { .. } | VersError::NotYours { .. } | VersError::Quota { .. } => {
                ErrorKind::Denied
            }
            VersError::NotFound { .. } => ErrorKind::NotFound,
            VersError::Conflict { .. } => ErrorKind::Conflict,
            VersError::Status {
                status: 408 | 429 | 502..=504,
                ..
            } => ErrorKind::Unavailable,
            VersError::Status { .. } | VersError::Answer { .. } => ErrorKind::Failed,
            VersError::InDoubt { cause, .. } => cause.kind(),
            VersError::Fenced { .. } => ErrorKind::Cancelled,
        }
    }

    /// What to do, where the message does not say it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            VersError::Status { status: 429, .. } => Some(
                "too many requests from this account: wait a minute, and see what else uses its key",
            ),
            VersError::Status {
                status: 500..=599, ..
            } => Some(
                "the platform has a fault and nothing of yours is wrong: wait, look at its status \
                 page, try again",
            ),
            VersError::Timeout { .. } | VersError::Dropped { .. } => Some(
                "the platform does not answer: wait and try again, and check the network if it stays so",
            ),
            VersError::Answer { .. } | VersError::Status { .. } => {
                Some("check `api-url`: something else than the Vers API answers there")
            }
            _ => None,
        }
    }

    /// As the error of fetching a VM's login key. It is the platform's, so it is not
    /// reported as a failed login.
    pub(crate) fn into_login(self) -> EffectError {
        let kind = match self.may_pass() {
            true => ErrorKind::Unavailable,
            false => self.kind(),
        };
        let advice = self.advice().map(|advice| format!("; {advice}"));
        let message = format!("{self}{}", advice.unwrap_or_default());
        EffectError::new(kind, codes::SSH_PLATFORM, message)
    }

    /// The same under a capability's code. `change`: whether the call changes
    /// something; a read is never in doubt.
    pub fn into_effect(self, code: &str, change: bool) -> EffectError {
        let error = EffectError::new(self.kind(), code, self.to_string());
        if change && self.maybe_applied() {
            error.in_doubt()
        } else {
            error
        }
    }
}
