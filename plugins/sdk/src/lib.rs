//! Write step plugins for vdeploy.
//!
//! A plugin is one type that implements [`Step`] and, when its effect can be
//! undone, [`Undo`]. Every effect goes through [`Cx`] to the host, which checks
//! it against the grants of the project.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use vdeploy_plugin::{Cx, Error, Step};
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     path: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Output {
//!     summary: String,
//! }
//!
//! struct DiskUse;
//!
//! impl Step for DiskUse {
//!     type Config = Config;
//!     type Output = Output;
//!
//!     fn run(cx: &Cx<Config>) -> Result<Output, Error> {
//!         let out = cx.ssh("du").arg("-sh").arg(&cx.config().path).probe()?;
//!         let out = out.into_success("du")?;
//!         Ok(Output { summary: out.stdout_text().trim().to_owned() })
//!     }
//! }
//! // vdeploy_plugin::register_step!(DiskUse);
//! # fn main() {}
//! ```
//!
//! The crate is built for `wasm32-unknown-unknown` with
//! `crate-type = ["cdylib", "rlib"]`; there is no WASI. The
//! `register` macros embed the manifest `plugin.toml` (see README.md), which is
//! next to `Cargo.toml`. On any other architecture the same code talks to
//! `testing::FakeHost`, so `cargo test` needs no host and no WASM.
//!
//! This crate must not know any service, tool or step.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod cx;
mod error;
mod http;
mod secret;
mod snapshot;
mod ssh;
mod state;
mod step;

#[cfg(target_arch = "wasm32")]
#[path = "wasm.rs"]
mod backend;
#[cfg(not(target_arch = "wasm32"))]
#[path = "testing/backend.rs"]
mod backend;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod export;
mod register;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use cx::{CheckStatus, Cx, Level};
pub use error::{Error, ErrorKind, ResultExt};
pub use http::{RequestBuilder, Response};
pub use secret::Secret;
pub use snapshot::Snapshots;
pub use ssh::{CommandBuilder, Output};
pub use state::State;
pub use step::{Step, Undo};

/// For authors who do not want to choose a version.
pub use serde_json;
