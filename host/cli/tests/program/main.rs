//! The built program, called as a person or a CI job calls it, without any
//! target: whose files and directories it trusts, what it makes, and what it
//! says to programs when it fails.
//!
//! Files of other users need root: without it those tests fail and say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod json;
mod made;
mod project;
mod state;
mod support;
