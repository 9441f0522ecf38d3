//! Named secrets of the project.
//!
//! A value is fetched once, before anything runs, and kept in memory that is
//! wiped when dropped. Plugins hold handles. A value leaves the host only
//! inside an SSH environment or an HTTP header that the grant names.
//!
//! Scope grammar, one string a grant:
//!
//! | scope | allows |
//! |---|---|
//! | `NAME@ssh` | the secret in the environment of a command on the target |
//! | `NAME@target` | the secret in a header of a request to the target's URL |
//! | `NAME@HOST` or `NAME@HOST:PORT` | the same for that host (`*.` may stand first) |

use super::error::{EffectError, ErrorKind};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A secret's value. Never printed, wiped when the last handle is dropped.
#[derive(Clone)]
pub struct SecretValue(Arc<Zeroizing<String>>);

impl SecretValue {
    /// Takes the value over.
    pub fn new(value: String) -> Self {
        Self(Arc::new(Zeroizing::new(value)))
    }
    /// The value, for the one place that puts it on the wire.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret with its name.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The name in the project file.
    pub name: String,
    /// The value.
    pub value: SecretValue,
}

/// Where secrets come from during a run.
pub trait Secrets: Send + Sync + fmt::Debug {
    /// The secret of this name, or `secret.missing`.
    fn get(&self, name: &str) -> Result<Secret, EffectError>;
}

/// The secrets of a run, fetched before it began.
#[derive(Debug, Default)]
pub struct LoadedSecrets {
    values: BTreeMap<String, SecretValue>,
}

impl LoadedSecrets {
    /// Takes the fetched values over.
    pub fn new(values: impl IntoIterator<Item = (String, SecretValue)>) -> Self {
        Self {
            values: values.into_iter().collect(),
        }
    }
}

impl Secrets for LoadedSecrets {
    fn get(&self, name: &str) -> Result<Secret, EffectError> {
        match self.values.get(name) {
            Some(value) => Ok(Secret {
                name: name.to_owned(),
                value: value.clone(),
            }),
            None => Err(EffectError::new(
                ErrorKind::NotFound,
                "secret.missing",
                format!("no secret `{name}` in the project; add [secrets.{name}] with a source"),
            )),
        }
    }
}
