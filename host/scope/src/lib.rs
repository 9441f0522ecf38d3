//! What a grant may say: the grammar of scopes for each capability, the grants of
//! a plugin, and the manifest with which it asks for them. Pure.
//!
//! The gate judges calls with it, and so does the fake host of the SDK: a test
//! cannot allow what a run refuses.

pub mod address;
mod advice;
mod capability;
pub mod glob;
mod grants;
mod http;
pub mod manifest;
mod manifest_rules;
mod program;
mod secrets;
mod snapshot;
mod ssh;
mod variables;

pub use capability::Capability;
pub use grants::{Grants, ScopeError};
pub use http::HttpScope;
pub use manifest::Manifest;
pub use secrets::SecretScope;
pub use snapshot::SnapshotScope;
pub use ssh::SshScope;
