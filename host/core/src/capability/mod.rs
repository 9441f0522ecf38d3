//! The powers a plugin can be given. One file a capability: its scope grammar
//! and its trait. `grant` puts scopes together, `mask` hides secrets, `doubles`
//! has implementations for tests, for `replay` and for refusing.
//!
//! Nothing here touches the outside world but the system's clock. The real
//! implementations are in `http`, `ssh`, `vers` and `journal`; `gate` decides
//! which call reaches them. It knows nothing of WASM: `plugin` translates
//! between WIT and these types.

pub mod address;
mod advice;
pub mod clock;
pub mod doubles;
pub mod error;
pub mod function;
pub mod glob;
pub mod grant;
pub mod held;
pub mod http;
pub mod http_rules;
pub mod mask;
mod program;
pub mod quote;
pub mod secrets;
pub mod snapshot;
pub mod ssh;
mod ssh_scope;
pub mod state;
pub mod variables;
pub mod world;

pub use error::{EffectError, ErrorKind};
pub use grant::{Grants, ScopeError};
pub use mask::Masker;
pub use world::World;
