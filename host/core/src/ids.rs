//! The names and ids that travel through every layer, as types of their own so
//! that a step is never taken for a plugin.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps `value` as it is.
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                Self(value.to_owned())
            }
        }
    };
}

id!(
    /// One execution of a plan: a ULID, so that ids sort by time.
    RunId
);
id!(
    /// A step's id, unique in its plan.
    StepId
);
id!(
    /// A plugin's name in the project file.
    PluginName
);
id!(
    /// A plan's name.
    PlanName
);
id!(
    /// A target's name in the project file.
    TargetName
);
id!(
    /// A stored state of the target (a Vers commit id).
    SnapshotId
);
id!(
    /// A VM of the Vers platform.
    VmId
);
id!(
    /// Lower-case hex SHA-256 of some bytes.
    Digest
);

impl RunId {
    /// A new id from the time and randomness.
    pub fn generate() -> Self {
        Self(ulid::Ulid::generate().to_string())
    }
}

/// Whether `text` can be a name in a project: letters, digits, `-` and `_`,
/// which TOML takes as a bare key.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}
