//! Whose values the `state` of a run's plugins are: the project's, and those of
//! the target where it is.

use std::sync::Arc;
use vdeploy_config::{PluginSource, Project};
use vdeploy_core::capability::state::State;
use vdeploy_journal::{Owners, Store, StoreState};

/// The state of the project's plugins on this target. `address` is
/// where the target is.
pub fn state(project: &Project, address: String, store: Arc<dyn Store>) -> Arc<dyn State> {
    let file = project.file.as_deref();
    // The same file by another path is the same project.
    let file = file.map(|file| std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned()));
    let builtin = project.plugins.iter().filter_map(|(name, plugin)| {
        let PluginSource::Builtin(source) = &plugin.source else {
            return None;
        };
        Some((name.clone(), source.clone()))
    });
    let owners = Owners {
        address,
        project: file.map_or_else(
            || "no project".to_owned(),
            |file| file.display().to_string(),
        ),
        builtin: builtin.collect(),
    };
    Arc::new(StoreState::of(owners, store))
}
