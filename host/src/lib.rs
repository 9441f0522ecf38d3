//! vdeploy: ships a service to a VM so that a run ends with the new version
//! live and verified, or with the old version live and verified.
//!
//! Dependencies point one way: `cli → ops → run → plugin → gate → journal →
//! capability`. `http`, `ssh`, `vers` and `journal` implement the traits of
//! `capability`, and `ops` puts them together. ARCHITECTURE.md in the repository has the table of
//! what each module uses, and the invariants; a test holds the code to the table.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod backoff;
pub mod capability;
pub mod clean;
pub mod cli;
pub mod config;
pub mod event;
pub mod gate;
pub mod http;
pub mod ids;
pub mod journal;
pub mod local;
pub mod openssh;
pub mod ops;
pub mod ownership;
pub mod plan;
pub mod plugin;
pub mod report;
pub mod resolve;
pub mod run;
pub mod ssh;
pub mod target;
pub mod tls;
pub mod vers;
