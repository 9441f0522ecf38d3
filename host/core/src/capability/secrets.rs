//! Secrets and their values. The scopes, which say where a secret may go, are in
//! `vdeploy-scope`.

use super::error::{EffectError, ErrorKind};
use crate::codes;
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

    /// Every secret by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretValue)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Every value, for the masker.
    pub fn values(&self) -> impl Iterator<Item = &SecretValue> {
        self.values.values()
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
                codes::SECRET_MISSING,
                format!("no secret `{name}` in the project; add [secrets.{name}] with a source"),
            )),
        }
    }
}
