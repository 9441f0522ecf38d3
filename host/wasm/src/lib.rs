//! Plugins as WASM components: loading, limits, and the translation between
//! the contract and the gate. Only this crate knows wasmtime.

mod bindings;
mod bounds;
pub mod cache;
mod call;
mod checks;
pub mod compiler;
mod component;
pub mod engine;
pub mod error;
mod exports;
mod features;
mod guard;
mod imports;
pub mod inspect;
mod limiter;
mod meter;
mod native;
mod state;

pub use bounds::MAX_FILE;
pub use cache::CodeCache;
pub use call::{Invocation, Returned, StepContext};
pub use compiler::Compiler;
pub use component::{Plugin, digest};
pub use engine::{Engine, Limits, Setup};
pub use error::PluginError;
