//! What the end-to-end tests stand on: the built binary, a local cloud with a
//! deployed service, git remotes with the sample service and its variants.
//!
//! Everything runs for real: git, npm, tsc, node, SSH in TLS, HTTP. Nothing
//! here knows the host's code; the tests see what a user sees.

pub mod base;
pub mod binary;
pub mod kept;
pub mod outcome;
#[cfg(target_os = "linux")]
pub mod platform;
pub mod remote;
pub mod site;
#[cfg(target_os = "linux")]
pub mod small_disk;
pub mod systemd;
pub mod wire;

pub use base::Base;
pub use outcome::Ran;
pub use remote::Remote;
pub use site::Site;
pub use wire::Wire;

use std::path::PathBuf;

/// `tests/fixtures` of this checkout.
pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}
