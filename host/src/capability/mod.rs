//! The powers a plugin can be given. One file a capability: its scope grammar,
//! its trait, its real, denying and recording implementations.
//!
//! Only this module touches the outside world for a plugin. It knows nothing
//! of WASM: `plugin` translates between WIT and these types.

pub mod address;
pub mod clock;
pub mod doubles;
pub mod error;
pub mod glob;
pub mod grant;
pub mod held;
pub mod http;
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
