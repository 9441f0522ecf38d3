//! Plugin state in memory, or none at all.

use crate::capability::state::State;
use crate::capability::{EffectError, ErrorKind};
use crate::codes;
use crate::ids::{PluginName, TargetName};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

fn refused() -> EffectError {
    EffectError::new(
        ErrorKind::Denied,
        codes::STATE_DENIED,
        "refused: there is no state here",
    )
}

/// Refuses every call.
#[derive(Debug, Default)]
pub struct DenyState;

impl State for DenyState {
    fn get(&self, _: &PluginName, _: &TargetName, _: &str) -> Result<Option<Vec<u8>>, EffectError> {
        Err(refused())
    }
    fn put(&self, _: &PluginName, _: &TargetName, _: &str, _: &[u8]) -> Result<(), EffectError> {
        Err(refused())
    }
    fn delete(&self, _: &PluginName, _: &TargetName, _: &str) -> Result<(), EffectError> {
        Err(refused())
    }
}

type Key = (PluginName, TargetName, String);

/// Keeps values in memory and every write in order.
#[derive(Debug, Default)]
pub struct RecordingState {
    values: Mutex<BTreeMap<Key, Vec<u8>>>,
    writes: Mutex<Vec<(String, Option<Vec<u8>>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl RecordingState {
    /// Keys with what was put there; none for a delete.
    pub fn writes(&self) -> Vec<(String, Option<Vec<u8>>)> {
        lock(&self.writes).clone()
    }
}

impl State for RecordingState {
    fn get(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<Option<Vec<u8>>, EffectError> {
        let key = (plugin.clone(), target.clone(), key.to_owned());
        Ok(lock(&self.values).get(&key).cloned())
    }
    fn put(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
        value: &[u8],
    ) -> Result<(), EffectError> {
        lock(&self.writes).push((key.to_owned(), Some(value.to_vec())));
        let key = (plugin.clone(), target.clone(), key.to_owned());
        lock(&self.values).insert(key, value.to_vec());
        Ok(())
    }
    fn delete(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<(), EffectError> {
        lock(&self.writes).push((key.to_owned(), None));
        let key = (plugin.clone(), target.clone(), key.to_owned());
        lock(&self.values).remove(&key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_belong_to_one_plugin_on_one_target() {
        let state = RecordingState::default();
        let (a, b) = (PluginName::from("a"), PluginName::from("b"));
        let (x, y) = (TargetName::from("x"), TargetName::from("y"));
        state.put(&a, &x, "k", b"1").unwrap();
        assert_eq!(state.get(&a, &x, "k").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(state.get(&b, &x, "k").unwrap(), None);
        assert_eq!(state.get(&a, &y, "k").unwrap(), None);
        state.delete(&a, &x, "k").unwrap();
        assert_eq!(state.get(&a, &x, "k").unwrap(), None);
        let expected = [
            ("k".to_owned(), Some(b"1".to_vec())),
            ("k".to_owned(), None),
        ];
        assert_eq!(state.writes(), expected);
    }

    #[test]
    fn a_denied_state_says_so() {
        let error = DenyState
            .put(&"a".into(), &"x".into(), "k", b"1")
            .unwrap_err();
        assert_eq!(error.code, "state.denied");
    }
}
