//! A plan as TOML that can be pasted into a project file.

use crate::plugins::PluginSource;
use crate::project::Project;
use crate::read::duration;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use vdeploy_core::clean;
use vdeploy_core::ids::is_name;
use vdeploy_core::plan::{OnFailure, Plan, Retry, RollbackTo, Step};
use vdeploy_scope::{Capability, Grants};

/// The plan with everything it inherits, and the plugins it uses with their
/// grants, each explained in a comment.
pub fn render_plan(plan: &Plan, project: &Project) -> String {
    let mut out = String::new();
    let name = &plan.name;
    let _ = writeln!(out, "[plans.{name}]");
    if !plan.summary.is_empty() {
        let _ = writeln!(out, "summary = {}", string(&plan.summary));
    }
    let _ = writeln!(out, "on-failure = \"{}\"", policy(plan.on_failure));
    let to = match plan.rollback_to {
        RollbackTo::InPlace => "in-place",
        RollbackTo::Snapshot => "snapshot",
    };
    let _ = writeln!(out, "rollback-to = \"{to}\"");
    for (list, steps) in [
        ("step", &plan.steps),
        ("rollback", &plan.rollback),
        ("finally", &plan.finally),
    ] {
        for step in steps {
            render_step(&mut out, &format!("plans.{name}.{list}"), step);
        }
    }
    let used: BTreeSet<_> = plan.all_steps().map(|s| &s.plugin).collect();
    for plugin_name in used {
        let Some(plugin) = project.plugins.get(plugin_name) else {
            continue;
        };
        let _ = writeln!(out, "\n# Plugin {plugin_name}:");
        for sentence in plugin.grants.sentences() {
            let _ = writeln!(out, "# - {}", clean::line(&sentence));
        }
        let _ = writeln!(out, "[plugins.{plugin_name}]");
        let _ = match &plugin.source {
            PluginSource::Builtin(name) => writeln!(out, "source = \"builtin:{name}\""),
            PluginSource::Path(path) => {
                let dir = project.file.as_deref().and_then(|f| f.parent());
                let path = dir.and_then(|d| path.strip_prefix(d).ok()).unwrap_or(path);
                writeln!(out, "path = {}", string(&path.display().to_string()))
            }
        };
        if let Some(digest) = &plugin.digest {
            let _ = writeln!(out, "digest = \"sha256:{digest}\"");
        }
        render_grants(&mut out, plugin_name.as_str(), &plugin.grants);
    }
    out
}

fn render_step(out: &mut String, header: &str, step: &Step) {
    let _ = writeln!(out, "\n[[{header}]]");
    let _ = writeln!(out, "id = \"{}\"", step.id);
    let _ = writeln!(out, "plugin = \"{}\"", step.plugin);
    let _ = writeln!(out, "timeout = \"{}\"", duration::format(step.timeout));
    if step.retry != Retry::default() {
        let delay = duration::format(step.retry.delay);
        let attempts = step.retry.attempts;
        let _ = writeln!(
            out,
            "retry = {{ attempts = {attempts}, delay = \"{delay}\" }}"
        );
    }
    if let Some(on_failure) = step.on_failure {
        let _ = writeln!(out, "on-failure = \"{}\"", policy(on_failure));
    }
    if !step.config.is_empty() {
        let _ = writeln!(out, "[{header}.config]");
        for (key, value) in &step.config {
            if let Some(text) = inline(value) {
                let _ = writeln!(out, "{} = {text}", bare_or_quoted(key));
            }
        }
    }
}

fn render_grants(out: &mut String, name: &str, grants: &Grants) {
    if *grants == Grants::default() {
        return;
    }
    let _ = writeln!(out, "[plugins.{name}.grants]");
    for key in Capability::ALL.into_iter().filter(|it| grants.gives(*it)) {
        let _ = match grants.scopes(key).as_slice() {
            [] => writeln!(out, "{key} = true"),
            [one] => writeln!(out, "{key} = [{}]", string(one)),
            many => {
                let lines = many.iter().map(|one| format!("  {},\n", string(one)));
                writeln!(out, "{key} = [\n{}]", lines.collect::<String>())
            }
        };
    }
}

fn policy(policy: OnFailure) -> &'static str {
    match policy {
        OnFailure::Rollback => "rollback",
        OnFailure::Keep => "keep",
    }
}

/// In one line of printable characters.
fn string(text: &str) -> String {
    match clean::line(text) == text {
        true => toml::Value::String(text.to_owned()).to_string(),
        false => clean::toml_string(text),
    }
}

fn bare_or_quoted(key: &str) -> String {
    match is_name(key) {
        true => key.to_owned(),
        false => clean::toml_string(key),
    }
}

/// One line of TOML; None for null, which TOML does not have.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::String(text) => Some(string(text)),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(inline).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        Value::Object(map) => Some(inline_table(map)),
    }
}

fn inline_table(map: &Map<String, Value>) -> String {
    let pairs: Vec<String> = map
        .iter()
        .filter_map(|(k, v)| inline(v).map(|v| format!("{} = {v}", bare_or_quoted(k))))
        .collect();
    match pairs.is_empty() {
        true => "{}".to_owned(),
        false => format!("{{ {} }}", pairs.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_built_in_plan_reads_back_as_it_was() {
        let project = Project::builtin().unwrap();
        for plan in project.plans.values() {
            let text = render_plan(plan, &project);
            let again = Project::from_text("again.toml", &text, Path::new("/p")).unwrap();
            assert_eq!(again.plan(&plan.name).unwrap(), plan, "{text}");
            for step in plan.all_steps() {
                let (a, b) = (&again.plugins[&step.plugin], &project.plugins[&step.plugin]);
                assert_eq!(a.grants, b.grants, "{text}");
                assert_eq!(a.source, b.source);
            }
        }
    }

    #[test]
    fn odd_values_read_back_and_paths_stay_relative() {
        let text = r#"
[plugins.own]
path = "plugins/own.wasm"
digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
[plugins.own.grants]
ssh = ["sh -c *", "probe:df **"]
[plans.odd]
summary = "it's \"odd\""
on-failure = "keep"
[[plans.odd.step]]
id = "a"
plugin = "own"
timeout = "90s"
retry = { attempts = 3, delay = "250ms" }
on-failure = "keep"
[plans.odd.step.config]
lines = "a\nb\u001b[8m\u202ec"
"a b" = { c = [1, 1.5, { d = true }], e = {} }
"#;
        let mut project = Project::from_text("f", text, Path::new("/p")).unwrap();
        project.file = Some("/p/vdeploy.toml".into());
        let plan = project.plan(&"odd".into()).unwrap();
        let rendered = render_plan(plan, &project);
        assert!(
            rendered.contains("path = \"plugins/own.wasm\""),
            "{rendered}"
        );
        assert!(
            rendered.contains(r#"lines = "a\nb\u001b[8m\U0000202ec""#),
            "{rendered}"
        );
        assert!(rendered.contains("# - runs any shell script: can do anything on the target\n"));
        let again = Project::from_text("f", &rendered, Path::new("/p")).unwrap();
        assert_eq!(again.plan(&"odd".into()).unwrap(), plan, "{rendered}");
        let own = &"own".into();
        assert_eq!(again.plugins[own].grants, project.plugins[own].grants);
        assert_eq!(again.plugins[own].digest, project.plugins[own].digest);
    }
}
