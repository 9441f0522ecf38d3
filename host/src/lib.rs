//! vdeploy: ships a service to a VM so that a run ends with the new version
//! live and verified, or with the old version live and verified.
//!
//! Every layer is a crate of its own (`vdeploy-core` to `vdeploy-report`);
//! `ops` puts them together and is what a program embeds, `cli` is the command
//! line over it. ARCHITECTURE.md has the table of the crates.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod cli;
pub mod ops;

pub use vdeploy_config as config;
pub use vdeploy_core::{actor, backoff, capability, clean, codes, event, ids, plan, target};
pub use vdeploy_files as ownership;
pub use vdeploy_gate as gate;
pub use vdeploy_http as http;
pub use vdeploy_journal as journal;
pub use vdeploy_lease as lease;
pub use vdeploy_local_cloud as local;
pub use vdeploy_net::{resolve, tls};
pub use vdeploy_report as report;
pub use vdeploy_run as run;
pub use vdeploy_scope as scope;
pub use vdeploy_ssh as ssh;
pub use vdeploy_ssh::openssh;
pub use vdeploy_vers as vers;

/// The plugin engine, and the plugins that the binary carries.
pub mod plugin {
    pub use vdeploy_builtin as builtin;
    pub use vdeploy_wasm::*;
}
