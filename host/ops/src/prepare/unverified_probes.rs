//! Plugins that are not vdeploy's own and could change the target while they
//! only look: one of their ssh scopes bounds nothing, or is for changes and so
//! covers what the plugin calls a probe too. They are named where nothing is to
//! be changed.

use std::collections::BTreeSet;
use vdeploy_config::{PluginSource, Project};
use vdeploy_core::ids::PluginName;
use vdeploy_core::plan::Plan;
use vdeploy_run::prepare::Plugins;

/// Scopes that are named at most.
const MOST: usize = 3;

/// One of them.
#[derive(Clone, Debug)]
pub struct UnverifiedProbes {
    /// Its name in the project.
    pub plugin: PluginName,
    /// The scopes with which it could change the target.
    scopes: Vec<String>,
}

impl UnverifiedProbes {
    /// What a person should know, in one line.
    pub fn warning(&self) -> String {
        let shown: Vec<String> = self.scopes.iter().take(MOST).cloned().collect();
        let more = match self.scopes.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "the plugin `{}` is not part of vdeploy and could change the target ({}{more}): it looks \
             only, by its own word",
            self.plugin,
            shown.join(", ")
        )
    }
}

/// Those of the plan, by name.
pub fn of_plan(project: &Project, plan: &Plan, plugins: &Plugins) -> Vec<UnverifiedProbes> {
    let names: BTreeSet<&PluginName> = plan.all_steps().map(|step| &step.plugin).collect();
    let mut found = Vec::new();
    for name in names {
        let (Some(config), Some(plugin)) = (project.plugins.get(name), plugins.get(name)) else {
            continue;
        };
        let calls_ssh = plugin.description.interfaces.iter().any(|i| i == "ssh");
        if !calls_ssh || matches!(config.source, PluginSource::Builtin(_)) {
            continue;
        }
        let scopes: Vec<String> = config
            .grants
            .ssh_by_word()
            .map(|scope| format!("`{scope}`"))
            .collect();
        if !scopes.is_empty() {
            found.push(UnverifiedProbes {
                plugin: name.clone(),
                scopes,
            });
        }
    }
    found
}

/// The line for the end of a run that was to change nothing; none where there
/// are no such plugins.
pub fn at_the_end(plugins: &[UnverifiedProbes]) -> Option<String> {
    let names: Vec<String> = plugins.iter().map(|p| format!("`{}`", p.plugin)).collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!(
            "the plugin {name} looked only, by its own word: vdeploy cannot tell what its probes did"
        )),
        _ => Some(format!(
            "the plugins {} looked only, by their own word: vdeploy cannot tell what their probes did",
            names.join(", ")
        )),
    }
}
