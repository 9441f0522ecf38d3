//! The `state` capability on top of a store: the limits of the contract, and
//! store errors as a plugin may see them. Knows no database.

use super::store::{Store, StoreError};
use crate::capability::state::{MAX_KEY, MAX_VALUE, State};
use crate::capability::{EffectError, ErrorKind};
use crate::ids::{PluginName, TargetName};
use std::sync::Arc;

/// Plugin state kept in a [`Store`].
#[derive(Clone, Debug)]
pub struct StoreState {
    store: Arc<dyn Store>,
}

impl StoreState {
    /// Keeps plugin state in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

/// Errors: `state.key`, `state.too-large`, `state.store`.
impl State for StoreState {
    fn get(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<Option<Vec<u8>>, EffectError> {
        check_key(key)?;
        self.store
            .plugin_state(plugin, target, key)
            .map_err(|error| from_store(&error))
    }

    fn put(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
        value: &[u8],
    ) -> Result<(), EffectError> {
        check_key(key)?;
        if value.len() > MAX_VALUE {
            return Err(EffectError::new(
                ErrorKind::Invalid,
                "state.too-large",
                format!(
                    "the value of `{key}` has {} bytes; at most {MAX_VALUE} are allowed",
                    value.len()
                ),
            ));
        }
        self.store
            .set_plugin_state(plugin, target, key, Some(value))
            .map_err(|error| from_store(&error))
    }

    fn delete(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<(), EffectError> {
        check_key(key)?;
        self.store
            .set_plugin_state(plugin, target, key, None)
            .map_err(|error| from_store(&error))
    }
}

fn check_key(key: &str) -> Result<(), EffectError> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(EffectError::new(
            ErrorKind::Invalid,
            "state.key",
            format!("a key has 1 to {MAX_KEY} bytes; this one has {}", key.len()),
        ));
    }
    Ok(())
}

/// A transaction that failed was rolled back: nothing was applied.
fn from_store(error: &StoreError) -> EffectError {
    EffectError::new(ErrorKind::Unavailable, "state.store", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SqliteStore;

    fn state() -> (StoreState, PluginName, TargetName) {
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        (StoreState::new(store), "smoke".into(), "infra".into())
    }

    #[test]
    fn values_belong_to_one_plugin_on_one_target() {
        let (state, plugin, target) = state();
        state.put(&plugin, &target, "k", b"\0one").unwrap();
        state.put(&plugin, &target, "k", b"\0two").unwrap();
        assert_eq!(
            state.get(&plugin, &target, "k").unwrap().as_deref(),
            Some(&b"\0two"[..])
        );
        assert_eq!(state.get(&"other".into(), &target, "k").unwrap(), None);
        assert_eq!(state.get(&plugin, &"other".into(), "k").unwrap(), None);
        state.delete(&plugin, &target, "k").unwrap();
        state.delete(&plugin, &target, "k").unwrap();
        assert_eq!(state.get(&plugin, &target, "k").unwrap(), None);
    }

    #[test]
    fn the_limits_are_the_contract_s() {
        let (state, plugin, target) = state();
        let longest = "k".repeat(MAX_KEY);
        let largest = vec![7; MAX_VALUE];
        state.put(&plugin, &target, &longest, &largest).unwrap();
        assert_eq!(
            state.get(&plugin, &target, &longest).unwrap(),
            Some(largest.clone())
        );

        let too_long = "k".repeat(MAX_KEY + 1);
        for error in [
            state.get(&plugin, &target, &too_long).unwrap_err(),
            state.put(&plugin, &target, "", b"").unwrap_err(),
            state.delete(&plugin, &target, &too_long).unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert_eq!(error.code, "state.key");
        }
        let too_large = vec![7; MAX_VALUE + 1];
        let error = state.put(&plugin, &target, "k", &too_large).unwrap_err();
        assert_eq!(error.code, "state.too-large");
        assert_eq!(state.get(&plugin, &target, "k").unwrap(), None);
    }
}
