//! Secrets that are not there, or that remember who asked.

use crate::capability::mask::MASK;
use crate::capability::secrets::{LoadedSecrets, Secret, SecretValue, Secrets};
use crate::capability::{EffectError, ErrorKind};
use crate::codes;
use std::sync::Mutex;

/// Refuses every call.
#[derive(Debug, Default)]
pub struct DenySecrets;

impl Secrets for DenySecrets {
    fn get(&self, name: &str) -> Result<Secret, EffectError> {
        Err(EffectError::new(
            ErrorKind::Denied,
            codes::SECRET_DENIED,
            format!("secret `{name}` is refused: there are no secrets here"),
        ))
    }
}

/// Has a secret of every name: its value is what stands for a value wherever one
/// was hidden.
#[derive(Debug, Default)]
pub struct PlaceholderSecrets;

impl Secrets for PlaceholderSecrets {
    fn get(&self, name: &str) -> Result<Secret, EffectError> {
        Ok(Secret {
            name: name.to_owned(),
            value: SecretValue::new(MASK.to_owned()),
        })
    }
}

/// Answers as the real ones do and keeps the names that were asked for.
#[derive(Debug, Default)]
pub struct RecordingSecrets {
    secrets: LoadedSecrets,
    asked: Mutex<Vec<String>>,
}

impl RecordingSecrets {
    /// With these names and values.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let values = values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), SecretValue::new(value.to_owned())));
        Self {
            secrets: LoadedSecrets::new(values),
            asked: Mutex::default(),
        }
    }

    /// Names in the order in which they were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Secrets for RecordingSecrets {
    fn get(&self, name: &str) -> Result<Secret, EffectError> {
        let mut asked = self.asked.lock().unwrap_or_else(|e| e.into_inner());
        asked.push(name.to_owned());
        drop(asked);
        self.secrets.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_kept_and_a_missing_one_is_named() {
        let secrets = RecordingSecrets::new([("token", "s3cret")]);
        assert_eq!(secrets.get("token").unwrap().value.expose(), "s3cret");
        let error = secrets.get("other").unwrap_err();
        assert_eq!(error.code, "secret.missing");
        assert!(error.message.contains("[secrets.other]"), "{error}");
        assert_eq!(secrets.asked(), ["token", "other"]);
        assert_eq!(DenySecrets.get("token").unwrap_err().code, "secret.denied");
    }
}
