//! What the built-in plugins share about the service they deploy: a Node
//! application in a git checkout, one process, one port, JSON stores in
//! `data/`. Functions over [`vdeploy_plugin::Cx`]; not a plugin.
//!
//! This crate must not know in which order the steps run.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod build;
pub mod checkout;
pub mod data;
pub mod data_loss;
pub mod endpoints;
pub mod facts;
pub mod listener;
pub mod log;
pub mod network;
pub mod node;
pub mod node_version;
pub mod outputs;
pub mod process;
pub mod records;
pub mod remote;
pub mod replace;
pub mod shape;
pub mod start;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
