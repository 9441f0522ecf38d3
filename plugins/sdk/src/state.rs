//! Small durable values of this plugin and target.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ResultExt, backend};

/// Got from [`crate::Cx::state`]. A key has at most 256 bytes, a value at
/// most 64 KiB.
#[derive(Debug, Clone, Copy)]
pub struct State(pub(crate) ());

impl State {
    /// Reads a value. A probe.
    ///
    /// # Errors
    /// `state.denied` and errors of the store.
    pub fn get(self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        backend::state_get(key)
    }

    /// Writes a value. A change of the store of the host.
    ///
    /// # Errors
    /// As [`State::get`].
    pub fn put(self, key: &str, value: &[u8]) -> Result<(), Error> {
        backend::state_put(key, value)
    }

    /// Deletes a value; a missing key is no error. A change of the store of the
    /// host.
    ///
    /// # Errors
    /// As [`State::get`].
    pub fn delete(self, key: &str) -> Result<(), Error> {
        backend::state_delete(key)
    }

    /// Reads a JSON value.
    ///
    /// # Errors
    /// As [`State::get`], and `json.invalid`.
    pub fn get_json<T: DeserializeOwned>(self, key: &str) -> Result<Option<T>, Error> {
        self.get(key)?
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .with_context(|| format!("stored value `{key}`"))
    }

    /// Writes a JSON value.
    ///
    /// # Errors
    /// As [`State::get`], and `json.invalid`.
    pub fn put_json<T: Serialize>(self, key: &str, value: &T) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).with_context(|| format!("stored value `{key}`"))?;
        self.put(key, &bytes)
    }
}
