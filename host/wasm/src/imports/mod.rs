//! The generated import traits, each answered by the gate. Nothing but
//! translation happens here.

pub mod basics;
pub mod http;
pub mod secrets;
pub mod snapshot;
pub mod ssh;
pub mod state;

use crate::bindings::vdeploy::plugin::types;
use vdeploy_core::capability::{EffectError, ErrorKind};

impl types::Host for crate::call::state::HostState {}

/// The contract's error from the host's.
pub(super) fn error(e: EffectError) -> types::Error {
    types::Error {
        kind: match e.kind {
            ErrorKind::Denied => types::ErrorKind::Denied,
            ErrorKind::Invalid => types::ErrorKind::Invalid,
            ErrorKind::NotFound => types::ErrorKind::NotFound,
            ErrorKind::Conflict => types::ErrorKind::Conflict,
            ErrorKind::Unavailable => types::ErrorKind::Unavailable,
            ErrorKind::Timeout => types::ErrorKind::Timeout,
            ErrorKind::Cancelled => types::ErrorKind::Cancelled,
            ErrorKind::Failed => types::ErrorKind::Failed,
        },
        code: e.code,
        message: e.message,
        maybe_applied: e.maybe_applied,
    }
}

/// The host's error from the contract's.
pub(super) fn effect_error(e: types::Error) -> EffectError {
    EffectError {
        kind: match e.kind {
            types::ErrorKind::Denied => ErrorKind::Denied,
            types::ErrorKind::Invalid => ErrorKind::Invalid,
            types::ErrorKind::NotFound => ErrorKind::NotFound,
            types::ErrorKind::Conflict => ErrorKind::Conflict,
            types::ErrorKind::Unavailable => ErrorKind::Unavailable,
            types::ErrorKind::Timeout => ErrorKind::Timeout,
            types::ErrorKind::Cancelled => ErrorKind::Cancelled,
            types::ErrorKind::Failed => ErrorKind::Failed,
        },
        code: e.code,
        message: e.message,
        maybe_applied: e.maybe_applied,
    }
}
