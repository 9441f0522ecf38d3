//! The `state` capability on top of a store: the limits of the contract, whose
//! values are whose, and store errors as a plugin may see them. Knows no
//! database.

use super::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use vdeploy_core::capability::state::{MAX_KEY, MAX_VALUE, State};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::ids::{PluginName, TargetName};

/// Whose values a project's plugins read and write. Names alone are not enough:
/// another project may use the same ones.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Where the target is, whatever a project calls it.
    pub address: String,
    /// The project of the plugins that come from files.
    pub project: String,
    /// Those that come with vdeploy, under their own names: their values are
    /// the target's, in every project.
    pub builtin: BTreeMap<PluginName, String>,
}

/// Plugin state kept in a [`Store`].
#[derive(Clone, Debug)]
pub struct StoreState {
    store: Arc<dyn Store>,
    owners: Option<Owners>,
}

impl StoreState {
    /// Keeps plugin state in `store`, by the names of plugin and target alone.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            owners: None,
        }
    }

    /// Keeps plugin state in `store`, apart from that of other projects.
    pub fn of(owners: Owners, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            owners: Some(owners),
        }
    }

    /// Under which names the store keeps it.
    fn keys(&self, plugin: &PluginName, target: &TargetName) -> (PluginName, TargetName) {
        let Some(owners) = &self.owners else {
            return (plugin.clone(), target.clone());
        };
        let owner = match owners.builtin.get(plugin) {
            Some(builtin) => format!("{plugin} of builtin:{builtin}"),
            None => format!("{plugin} of {}", owners.project),
        };
        let target = format!("{target} at {}", owners.address);
        (PluginName::new(owner), TargetName::new(target))
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
        let (plugin, target) = self.keys(plugin, target);
        self.store
            .plugin_state(&plugin, &target, key)
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
                codes::STATE_TOO_LARGE,
                format!(
                    "the value of `{key}` has {} bytes; at most {MAX_VALUE} are allowed",
                    value.len()
                ),
            ));
        }
        let (plugin, target) = self.keys(plugin, target);
        self.store
            .set_plugin_state(&plugin, &target, key, Some(value))
            .map_err(|error| from_store(&error))
    }

    fn delete(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<(), EffectError> {
        check_key(key)?;
        let (plugin, target) = self.keys(plugin, target);
        self.store
            .set_plugin_state(&plugin, &target, key, None)
            .map_err(|error| from_store(&error))
    }
}

fn check_key(key: &str) -> Result<(), EffectError> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(EffectError::new(
            ErrorKind::Invalid,
            codes::STATE_KEY,
            format!("a key has 1 to {MAX_KEY} bytes; this one has {}", key.len()),
        ));
    }
    Ok(())
}

/// A transaction that failed was rolled back: nothing was applied.
fn from_store(error: &StoreError) -> EffectError {
    EffectError::new(
        ErrorKind::Unavailable,
        codes::STATE_STORE,
        error.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteStore;

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
    fn two_projects_share_the_values_of_a_built_in_plugin_and_no_others() {
        let store: Arc<SqliteStore> = Arc::new(SqliteStore::in_memory().unwrap());
        let project = |name: &str, address: &str| {
            let owners = Owners {
                address: address.to_owned(),
                project: name.to_owned(),
                builtin: [("rollback".into(), "rollback".to_owned())].into(),
            };
            StoreState::of(owners, store.clone())
        };
        let (a, b) = (
            project("/a/vdeploy.toml", "vm-1"),
            project("/b/vdeploy.toml", "vm-1"),
        );
        let elsewhere = project("/a/vdeploy.toml", "vm-2");
        let target = TargetName::from("infra");
        for (plugin, shared) in [("rollback", true), ("evil", false)] {
            let plugin = PluginName::from(plugin);
            a.put(&plugin, &target, "k", b"v").unwrap();
            let get = |state: &StoreState| state.get(&plugin, &target, "k").unwrap();
            assert_eq!(get(&a).as_deref(), Some(&b"v"[..]));
            assert_eq!(get(&b).is_some(), shared, "{plugin}");
            assert_eq!(get(&elsewhere), None, "{plugin}");
            b.delete(&plugin, &target, "k").unwrap();
            assert_eq!(get(&a).is_some(), !shared, "{plugin}");
        }
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
