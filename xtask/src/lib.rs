//! What a checkout of vdeploy needs beyond cargo: one module a subcommand, and
//! four that they stand on (`workspace`, `command`, `component`,
//! `sources_hash`). A library so that the tests can build plugins too.
//!
//! It must compile without the host and without a built plugin, because it is
//! what builds the plugins that the host embeds.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod bench;
pub mod ci;
pub mod command;
pub mod component;
pub mod demo;
pub mod dist;
pub mod failure_modes;
pub mod fixtures;
pub mod licences;
pub mod plugin_build;
pub mod plugins;
pub mod setup;
pub mod shell;
pub mod soak;
pub mod sources_hash;
pub mod suite;
pub mod test;
pub mod wit_check;
pub mod workspace;
