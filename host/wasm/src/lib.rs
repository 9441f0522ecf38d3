//! Plugins as WASM components: loading, limits, and the translation between
//! the contract and the gate. Only this crate knows wasmtime.

mod bindings;
mod call;
pub mod engine;
pub mod error;
mod imports;
pub mod inspect;
mod load;

pub use call::{Invocation, Returned, StepContext};
pub use engine::{Engine, Limits, Setup};
pub use error::PluginError;
pub use load::bounds::MAX_FILE;
pub use load::cache::CodeCache;
pub use load::compiler::{self, Compiler};
pub use load::component::{Plugin, digest};
