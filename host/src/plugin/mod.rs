//! Plugins as WASM components: loading, limits, and the translation between
//! the contract and the gate. Only this module knows wasmtime.

mod bindings;
pub mod builtin;
mod call;
mod component;
pub mod engine;
pub mod error;
mod exports;
mod imports;
pub mod inspect;
pub mod manifest;
mod meter;
mod state;

pub use call::{Invocation, Returned, StepContext};
pub use component::{Plugin, digest};
pub use engine::{Engine, Limits};
pub use error::PluginError;
pub use manifest::Manifest;
