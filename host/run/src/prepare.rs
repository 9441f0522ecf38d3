//! Prepares a plan and its plugins for execution: completes the configuration of
//! every step, and finds out what each step may change.

use super::machine::Traits;
use serde_json::Value;
use std::collections::BTreeMap;
use vdeploy_core::ids::{Digest, PluginName, StepId};
use vdeploy_core::plan::{Plan, RollbackTo};
use vdeploy_scope::Capability;
use vdeploy_scope::Grants;
use vdeploy_wasm::{Plugin, PluginError};

/// Plugins by their name in the project.
pub type Plugins = BTreeMap<PluginName, Plugin>;

pub type Configs = BTreeMap<StepId, Value>;

/// Completes every step's configuration; reports every problem of every step.
/// A rollback step whose plugin has the key `to` gets the kind of rollback.
pub fn configs(
    plan: &Plan,
    plugins: &Plugins,
    is_rollback: bool,
) -> Result<Configs, Vec<PluginError>> {
    let mut complete = Configs::new();
    let mut problems = Vec::new();
    for step in plan.all_steps() {
        let Some(plugin) = plugins.get(&step.plugin) else {
            problems.push(PluginError::Config {
                step: step.id.clone(),
                pointer: String::new(),
                message: format!("the plugin `{}` is not loaded", step.plugin),
            });
            continue;
        };
        let manifest = &plugin.description.manifest;
        let mut given = step.config.clone();
        let in_rollback = is_rollback || plan.rollback.iter().any(|s| s.id == step.id);
        if in_rollback && manifest.config_keys().any(|key| key == "to") {
            let to = match plan.rollback_to {
                RollbackTo::InPlace => "in-place",
                RollbackTo::Snapshot => "snapshot",
            };
            given.entry("to").or_insert_with(|| Value::from(to));
        }
        match manifest.complete(&given) {
            Ok(config) => {
                complete.insert(step.id.clone(), Value::Object(config));
            }
            Err(found) => problems.extend(found.into_iter().map(|problem| PluginError::Config {
                step: step.id.clone(),
                pointer: problem.pointer,
                message: problem.message,
            })),
        }
    }
    if problems.is_empty() {
        Ok(complete)
    } else {
        Err(problems)
    }
}

/// A digest of how the plan changes the target: the steps that may, with their
/// configuration and their plugins' bytes. The same code deployed by another
/// recipe is not the same deploy.
pub fn recipe(plan: &Plan, plugins: &Plugins, configs: &Configs) -> Digest {
    let mut text = String::new();
    for step in &plan.steps {
        let Some(plugin) = plugins.get(&step.plugin).filter(|p| may_change(p)) else {
            continue;
        };
        let config = configs.get(&step.id).and_then(Value::as_object);
        let sorted: BTreeMap<_, _> = config.into_iter().flatten().collect();
        let config = serde_json::to_string(&sorted).unwrap_or_default();
        let digest = &plugin.description.digest;
        text.push_str(&format!("{} {digest} {config}\n", step.id));
    }
    vdeploy_wasm::digest(text.as_bytes())
}

/// Sets `force` where the plugin has that key: the step then skips nothing that
/// is unchanged.
pub fn force(plan: &Plan, plugins: &Plugins, configs: &mut Configs) {
    for step in &plan.steps {
        let takes_force = plugins.get(&step.plugin).is_some_and(|plugin| {
            let mut keys = plugin.description.manifest.config_keys();
            keys.any(|key| key == "force")
        });
        if takes_force && let Some(Value::Object(config)) = configs.get_mut(&step.id) {
            config.insert("force".to_owned(), Value::Bool(true));
        }
    }
}

/// What the machine decides from, besides the history.
pub fn traits(plan: &Plan, plugins: &Plugins, is_rollback: bool) -> Traits {
    let mut traits = Traits {
        is_rollback,
        ..Traits::default()
    };
    for (index, step) in plan.steps.iter().enumerate() {
        let Some(plugin) = plugins.get(&step.plugin) else {
            continue;
        };
        if plugin.description.has_undo() {
            traits.undoable.insert(index);
        }
        if may_change(plugin) {
            traits.may_change.insert(index);
        }
    }
    traits
}

/// Whether a plugin both imports and was granted something that changes the
/// target or takes a snapshot of it.
fn may_change(plugin: &Plugin) -> bool {
    // Exhaustive, so that a new capability does not compile until it is decided
    // here whether it changes the target.
    let Grants {
        ssh,
        http,
        snapshot,
        secrets: _,
        secrets_reveal: _,
        // Changes the host's store only.
        state: _,
    } = plugin.grants.as_ref();
    let imports = |capability: Capability| {
        let mut interfaces = plugin.description.interfaces.iter();
        interfaces.any(|interface| interface == capability.name())
    };
    (imports(Capability::Ssh) && ssh.iter().any(|scope| !scope.is_probe_only()))
        || (imports(Capability::Http) && http.iter().any(|scope| !scope.is_probe_only()))
        || (imports(Capability::Snapshot) && !snapshot.is_empty())
}
