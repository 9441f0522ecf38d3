//! The local cloud as its clients see it: REST, SSH in TLS, HTTP by host name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod rest;
mod services;
mod ssh;
mod support;
