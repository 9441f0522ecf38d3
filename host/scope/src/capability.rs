//! The capabilities that a grant can give: one row each.

use std::fmt;

/// What a grant gives. Its name is the key in `[plugins.NAME.grants]`, the word
/// in a manifest's `[[request]]` and the interface of the contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Capability {
    /// Commands on the target.
    Ssh,
    /// Requests from the host.
    Http,
    /// Secrets that go somewhere without the plugin seeing them.
    Secrets,
    /// Values of secrets.
    SecretsReveal,
    /// Snapshots of the target.
    Snapshot,
    /// Values kept between runs.
    State,
}

impl Capability {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Self; 6] = [
        Self::Ssh,
        Self::Http,
        Self::Secrets,
        Self::SecretsReveal,
        Self::Snapshot,
        Self::State,
    ];

    /// The name in manifests, project files and the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Http => "http",
            Self::Secrets => "secrets",
            Self::SecretsReveal => "secrets-reveal",
            Self::Snapshot => "snapshot",
            Self::State => "state",
        }
    }

    /// The capability of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Whether it is granted scope by scope, and not by `true`.
    pub const fn has_scopes(self) -> bool {
        self.example().is_some()
    }

    /// A scope to show to somebody who has none; `None` without scopes.
    pub(crate) const fn example(self) -> Option<&'static str> {
        match self {
            Self::Ssh => Some("PROGRAM **"),
            Self::Http => Some("GET target/**"),
            Self::Secrets => Some("NAME@target"),
            Self::SecretsReveal => Some("NAME"),
            Self::Snapshot => Some("create"),
            Self::State => None,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
