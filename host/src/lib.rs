//! vdeploy: ships a service to a VM so that a run ends with the new version
//! live and verified, or with the old version live and verified.
//!
//! Dependencies point one way: `cli → run → plugin → capability → {vers, ssh}`;
//! `journal` and `report` only consume what happened. ARCHITECTURE.md in the
//! repository has the map and the invariants.
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
pub mod cli;
pub mod config;
pub mod event;
pub mod gate;
pub mod http;
pub mod ids;
pub mod journal;
pub mod local;
pub mod openssh;
pub mod plan;
pub mod plugin;
pub mod report;
pub mod resolve;
pub mod run;
pub mod ssh;
pub mod target;
pub mod tls;
pub mod vers;
