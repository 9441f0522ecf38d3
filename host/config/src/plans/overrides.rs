//! What the command line changes in a plan: `--set`, `--ref`, `--on-failure`.

use crate::read::json::{below, json_of_toml};
use crate::read::nearest::did_you_mean;
use crate::read::span::{ConfigError, Problem};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::{OnFailure, Plan, Step};

/// Where the command line has set values: by step and JSON pointer, the argument
/// and the column in it.
#[derive(Debug, Default)]
pub struct Overrides(BTreeMap<(StepId, String), String>);

impl Overrides {
    /// The argument that set the value at `pointer`, or what it stands in.
    pub fn origin_of(&self, step: &StepId, pointer: &str) -> Option<&str> {
        let mut pointer = pointer;
        loop {
            if let Some(origin) = self.0.get(&(step.clone(), pointer.to_owned())) {
                return Some(origin);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    }
}

/// Applies one `step.key=value`. The value is read as TOML, and taken as a
/// string when it is none; further dots in the key go into tables.
pub fn apply_set(
    plan: &mut Plan,
    assignment: &str,
    overrides: &mut Overrides,
) -> Result<(), ConfigError> {
    let wrong = |column: usize, message: String, help: String| {
        let origin = origin(assignment, column);
        ConfigError::from(Problem::nowhere(format!("{origin}: {message}")).help(help))
    };
    let how = || "write --set STEP.KEY=VALUE, for example --set restart.port=3001".to_owned();
    let length = assignment.chars().count();
    let Some((path, value)) = assignment.split_once('=') else {
        return Err(wrong(length + 1, "there is no `=`".to_owned(), how()));
    };
    let mut words = words(path).into_iter();
    let (first, step_id) = words.next().unwrap_or((1, ""));
    let keys: Vec<(usize, &str)> = words.collect();
    let Some(((column, last), parents)) = keys.split_last() else {
        let column = path.chars().count() + 1;
        return Err(wrong(
            column,
            "there is no key after the step".to_owned(),
            how(),
        ));
    };
    if let Some((column, _)) = keys.iter().find(|(_, key)| key.is_empty()) {
        return Err(wrong(*column, "a key is empty".to_owned(), how()));
    }
    let ids: Vec<String> = plan.all_steps().map(|s| s.id.to_string()).collect();
    let name = plan.name.clone();
    let Some(step) = steps_mut(plan).find(|s| s.id.as_str() == step_id) else {
        let help = did_you_mean(step_id, "steps", ids.iter().map(String::as_str));
        return Err(wrong(
            first,
            format!("plan `{name}` has no step `{step_id}`"),
            help,
        ));
    };
    let id = step.id.clone();
    let mut table = &mut step.config;
    let (mut at, mut pointer) = (Vec::new(), String::new());
    for (column, key) in parents {
        at.push(*key);
        pointer = below(&pointer, key);
        let inner = table
            .entry(*key)
            .or_insert_with(|| Value::Object(Map::new()));
        match inner {
            Value::Object(inner) => table = inner,
            _ => {
                let at = at.join(".");
                return Err(wrong(
                    *column,
                    format!("`{at}` of step `{step_id}` is not a table"),
                    format!("set `{at}` as a whole, for example --set '{step_id}.{at}=[…]'"),
                ));
            }
        }
    }
    let value = json_of_toml(value.trim()).unwrap_or_else(|| Value::String(value.to_owned()));
    table.insert((*last).to_owned(), value);
    let origin = origin(assignment, *column);
    overrides.0.insert((id, below(&pointer, last)), origin);
    Ok(())
}

fn origin(assignment: &str, column: usize) -> String {
    format!("--set {assignment}, column {column}")
}

/// The words between the dots, each with its column, which counts from 1 in
/// characters.
fn words(path: &str) -> Vec<(usize, &str)> {
    let mut column = 1 + path.chars().take_while(|c| c.is_whitespace()).count();
    let mut words = Vec::new();
    for word in path.trim().split('.') {
        words.push((column, word));
        column += word.chars().count() + 1;
    }
    words
}

/// Sets the configuration key `ref` on every step for which `takes_ref`
/// holds.
pub fn apply_ref(
    plan: &mut Plan,
    reference: &str,
    overrides: &mut Overrides,
    takes_ref: impl Fn(&Step) -> bool,
) -> Result<(), ConfigError> {
    let wrong =
        |message: String, help: &str| Err(ConfigError::from(Problem::nowhere(message).help(help)));
    // A leading `-` would be read as an option by git.
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if reference.is_empty() || reference.starts_with('-') || reference.contains(odd) {
        return wrong(
            format!("--ref `{reference}` is not a branch, tag or commit"),
            "write for example --ref main or --ref 1a2b3c4",
        );
    }
    let mut count = 0;
    for step in steps_mut(plan).filter(|s| takes_ref(s)) {
        let value = Value::String(reference.to_owned());
        step.config.insert("ref".to_owned(), value);
        let origin = format!("--ref {reference}");
        overrides
            .0
            .insert((step.id.clone(), below("", "ref")), origin);
        count += 1;
    }
    match count {
        0 => wrong(
            format!(
                "--ref {reference}: no step of plan `{}` takes a ref",
                plan.name
            ),
            "choose a plan that fetches code, such as `default`, or leave --ref out",
        ),
        _ => Ok(()),
    }
}

/// Sets the policy of the whole plan, over what single steps say.
pub fn apply_on_failure(plan: &mut Plan, policy: OnFailure) -> Result<(), ConfigError> {
    if policy == OnFailure::Rollback && plan.rollback.is_empty() {
        let message = format!(
            "--on-failure rollback: plan `{}` has no rollback steps",
            plan.name
        );
        let help = format!(
            "add [[plans.{}.rollback]] steps to the project file",
            plan.name
        );
        return Err(ConfigError::from(Problem::nowhere(message).help(help)));
    }
    plan.on_failure = policy;
    for step in steps_mut(plan) {
        step.on_failure = None;
    }
    Ok(())
}

fn steps_mut(plan: &mut Plan) -> impl Iterator<Item = &mut Step> {
    plan.steps
        .iter_mut()
        .chain(&mut plan.rollback)
        .chain(&mut plan.finally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Project;
    use serde_json::json;

    fn plan() -> Plan {
        let project = Project::builtin().unwrap();
        let mut plan = project.plan(&"default".into()).unwrap().clone();
        for step in steps_mut(&mut plan) {
            step.config.clear();
        }
        plan
    }

    fn config(plan: &Plan, id: &str) -> Value {
        let step = plan.all_steps().find(|s| s.id.as_str() == id).unwrap();
        Value::Object(step.config.clone())
    }

    #[test]
    fn values_are_toml_or_else_text() {
        let mut plan = plan();
        for set in [
            "restart.port=3001",
            "restart.command=npm start",
            "restart.args=[\"a\", \"b\"]",
            "restart.env.A=true",
            "restart.env.B=x=y",
            "smoke-after-rollback.sha=\"12\"",
        ] {
            apply_set(&mut plan, set, &mut Overrides::default()).unwrap();
        }
        assert_eq!(
            config(&plan, "restart"),
            json!({"port": 3001, "command": "npm start", "args": ["a", "b"],
                   "env": {"A": true, "B": "x=y"}})
        );
        assert_eq!(config(&plan, "smoke-after-rollback"), json!({"sha": "12"}));
    }

    #[test]
    fn a_wrong_assignment_says_what_to_write() {
        let mut plan = plan();
        apply_set(&mut plan, "restart.port=1", &mut Overrides::default()).unwrap();
        for (set, message) in [
            (
                "restrat.port=1",
                "--set restrat.port=1, column 1: plan `default` has no step `restrat`\n  help: did you mean \
                 `restart`?",
            ),
            (
                "restart=1",
                "--set restart=1, column 8: there is no key after the step\n  help: write --set \
                 STEP.KEY=VALUE, for example --set restart.port=3001",
            ),
            (
                "restart.port.x=1",
                "--set restart.port.x=1, column 9: `port` of step `restart` is not a table\n  help: set \
                 `port` as a whole, for example --set 'restart.port=[…]'",
            ),
        ] {
            assert_eq!(
                apply_set(&mut plan, set, &mut Overrides::default())
                    .unwrap_err()
                    .to_string(),
                message
            );
        }
        assert!(apply_set(&mut plan, "restart.port", &mut Overrides::default()).is_err());
        assert!(apply_set(&mut plan, "restart..a=1", &mut Overrides::default()).is_err());
    }

    #[test]
    fn what_was_set_is_known_by_its_argument() {
        let mut plan = plan();
        let mut overrides = Overrides::default();
        for set in ["restart.port=1", " restart.env.a/b=x", "restart.port=2"] {
            apply_set(&mut plan, set, &mut overrides).unwrap();
        }
        apply_ref(&mut plan, "v1", &mut overrides, |s| {
            s.id.as_str() == "git-pull"
        })
        .unwrap();
        let restart = "restart".into();
        let origin = |pointer| overrides.origin_of(&restart, pointer);
        assert_eq!(origin("/port"), Some("--set restart.port=2, column 9"));
        let env = "--set  restart.env.a/b=x, column 14";
        assert_eq!(origin("/env/a~1b"), Some(env));
        assert_eq!(origin("/env/a~1b/0"), Some(env));
        assert_eq!(origin("/env"), None);
        assert_eq!(
            overrides.origin_of(&"git-pull".into(), "/ref"),
            Some("--ref v1")
        );
    }

    #[test]
    fn a_ref_goes_to_the_steps_that_take_one_and_stays_text() {
        let mut plan = plan();
        apply_ref(&mut plan, "1234567", &mut Overrides::default(), |s| {
            s.plugin.as_str() == "git-pull"
        })
        .unwrap();
        assert_eq!(config(&plan, "git-pull"), json!({"ref": "1234567"}));
        assert_eq!(config(&plan, "restart"), json!({}));
        let none = apply_ref(&mut plan, "main", &mut Overrides::default(), |_| false).unwrap_err();
        assert!(
            none.to_string()
                .contains("no step of plan `default` takes a ref")
        );
        assert!(
            apply_ref(
                &mut plan,
                "--upload-pack=x",
                &mut Overrides::default(),
                |_| true
            )
            .is_err()
        );
    }

    #[test]
    fn the_policy_of_the_command_line_is_over_the_steps() {
        let mut plan = plan();
        plan.steps[0].on_failure = Some(OnFailure::Rollback);
        apply_on_failure(&mut plan, OnFailure::Keep).unwrap();
        assert_eq!(plan.on_failure, OnFailure::Keep);
        assert!(plan.all_steps().all(|s| s.on_failure.is_none()));
        plan.rollback.clear();
        assert!(apply_on_failure(&mut plan, OnFailure::Rollback).is_err());
    }
}
