//! The powers a plugin can be given: one trait a capability. Their scopes are in
//! `vdeploy-scope`, the real implementations in `http`, `ssh`, `vers` and
//! `journal`. `mask` hides secrets; `offline` is the world of a replay.
//!
//! Nothing here touches the outside world but the system's clock. The real
//! implementations are in `http`, `ssh`, `vers` and `journal`; `gate` decides
//! which call reaches them. It knows nothing of WASM: `wasm` translates
//! between WIT and these types.

pub mod clock;
#[cfg(any(test, feature = "testing"))]
pub mod doubles;
pub mod error;
pub mod function;
pub mod http;
pub mod http_rules;
pub mod leases;
pub mod mask;
mod offline;
pub mod quote;
pub mod secrets;
pub mod snapshot;
pub mod ssh;
pub mod state;
pub mod variables;
pub mod world;

pub use error::{EffectError, ErrorKind};
pub use mask::Masker;
pub use world::World;
