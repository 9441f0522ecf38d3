//! Servers for tests: a real `sshd` behind TLS, and one that misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod faulty;
pub mod fixture;
pub mod processes;
pub mod traffic;
