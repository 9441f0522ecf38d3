//! Secrets that stand where everybody reads them. Configuration is stored,
//! exported and shown, so a secret's value in it is refused before anything is
//! touched; of a value that is an ordinary word only a warning is given.

use crate::error::{OpsError, OpsErrorKind};
use serde_json::Value;
use vdeploy_config::{Project, TargetConfig};
use vdeploy_core::capability::mask::{Masker, Strength, strength};
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue};
use vdeploy_core::ids::StepId;
use vdeploy_core::plan::Plan;
use vdeploy_run::prepare::Configs;

/// What of a run is stored as it was written.
pub struct Written<'a> {
    /// The project.
    pub project: &'a Project,
    /// The plan with what the command line changed.
    pub plan: &'a Plan,
    /// Every step's complete configuration.
    pub configs: &'a Configs,
    /// The target.
    pub target: &'a TargetConfig,
    /// `--set`, in order.
    pub set: &'a [String],
    /// `--without-snapshot`.
    pub without_snapshot: Option<&'a str>,
}

/// One text that is stored, and where it was written.
struct Text {
    place: String,
    text: String,
}

/// Refuses a configuration with the value of a secret in it. What it returns
/// are warnings of values that cannot be told from other text.
pub fn check(written: &Written<'_>, secrets: &LoadedSecrets) -> Result<Vec<String>, OpsError> {
    let texts = texts(written);
    let (mut warnings, mut found) = (Vec::new(), Vec::new());
    for (name, value) in secrets.iter() {
        let strength = strength(value.expose());
        if strength == Strength::Strong {
            found.extend(places(name, value, &texts));
            continue;
        }
        warnings.extend(weak(name, strength, written.project));
        let same = texts
            .iter()
            .filter(|t| t.text.trim() == value.expose().trim());
        warnings.extend(same.take(1).map(|text| {
            format!(
                "{}: it is the same as the value of secret `{name}`, which is stored with it; a \
                 plugin that needs the secret gets it by a grant",
                text.place
            )
        }));
    }
    match found.is_empty() {
        true => Ok(warnings),
        false => Err(refusal(&found)),
    }
}

/// What to say of a value that hides other text with it.
fn weak(name: &str, strength: Strength, project: &Project) -> Option<String> {
    let source = project.secrets.get(name);
    let source = source.map_or_else(String::new, |source| format!(" ({source})"));
    let what = match strength {
        Strength::Ordinary => {
            "is an ordinary word: it is not hidden in the output, because that would hide the word \
             everywhere"
        }
        Strength::Weak => {
            "is short, or made of plain words or digits: hiding it can hide other text too"
        }
        Strength::Strong => return None,
    };
    Some(format!(
        "the value of secret `{name}`{source} {what}; give it a long random value, or take the \
         secret out of the grants where it is not needed"
    ))
}

fn places(name: &str, value: &SecretValue, texts: &[Text]) -> Vec<(String, String)> {
    let Ok(masker) = Masker::new([value]) else {
        return Vec::new();
    };
    let is_in = |text: &&Text| masker.mask(&text.text) != text.text;
    let places = texts.iter().filter(is_in);
    // A key can hold it too.
    let places = places.map(|text| masker.mask(&text.place).into_owned());
    let mut places: Vec<(String, String)> = places.map(|p| (p, name.to_owned())).collect();
    places.dedup();
    places
}

fn refusal(found: &[(String, String)]) -> OpsError {
    let mut message = String::from(
        "secret.in-config: the value of a secret stands in the configuration, which is stored and \
         shown; nothing was touched",
    );
    for (place, name) in found {
        message.push_str(&format!("\n{place}: the value of secret `{name}`"));
    }
    OpsError::new(OpsErrorKind::Refused, message).hint(
        "take the value out, and let the plugin have the secret by a grant, for example secrets = \
         [\"NAME@ssh\"]; where it is no secret, take it out of [secrets]",
    )
}

fn texts(written: &Written<'_>) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut add = |place: &str, text: &str| {
        texts.push(Text {
            place: place.to_owned(),
            text: text.to_owned(),
        });
    };
    if let Some(reason) = written.without_snapshot {
        add("--without-snapshot", reason);
    }
    let plan = written.plan;
    add(&format!("`summary` of plan `{}`", plan.name), &plan.summary);
    if let Some(url) = written.target.kind().url() {
        add("`url` of the target", url);
    }
    for step in plan.all_steps() {
        if let Some(config) = written.configs.get(&step.id) {
            let place = |pointer: &str| place(written, &step.id, pointer);
            walk(config, String::new(), &mut |pointer, text| {
                texts.push(Text {
                    place: place(pointer),
                    text,
                });
            });
        }
    }
    texts
}

/// Every string, key and number below `value`, each with its JSON pointer.
fn walk(value: &Value, pointer: String, add: &mut dyn FnMut(&str, String)) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => add(&pointer, number.to_string()),
        Value::String(text) => add(&pointer, text.clone()),
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                walk(item, format!("{pointer}/{n}"), add);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let inner = key.replace('~', "~0").replace('/', "~1");
                let inner = format!("{pointer}/{inner}");
                add(&inner, key.clone());
                walk(item, inner, add);
            }
        }
    }
}

/// Where the value at `pointer` of a step's configuration comes from.
fn place(written: &Written<'_>, step: &StepId, pointer: &str) -> String {
    let path = pointer.trim_start_matches('/').replace('/', ".");
    let path = path.replace("~1", "/").replace("~0", "~");
    let set = written.set.iter().rev().find_map(|set| {
        let key = set.split_once('=')?.0.trim();
        let set = key.strip_prefix(step.as_str())?.strip_prefix('.')?;
        let rest = path.strip_prefix(set)?;
        (rest.is_empty() || rest.starts_with('.')).then_some(key)
    });
    if let Some(key) = set {
        return format!("--set {key}");
    }
    let what = format!("`{path}` of step `{step}`");
    let project = written.project;
    let as_written = project.plan(&written.plan.name).ok();
    let as_written = as_written.and_then(|plan| plan.all_steps().find(|s| s.id == *step));
    let as_written = as_written.map(|step| Value::Object(step.config.clone()));
    let is_written = as_written.is_some_and(|config| config.pointer(pointer).is_some());
    match project.place_of(&written.plan.name, step, pointer) {
        Some(place) if is_written => format!("{place}: {what}"),
        _ => format!("{what}, by the command line or the plugin's defaults"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const TOKEN: &str = "tok-4f9a1c77e2b0d5";

    fn ask(toml: &str, set: &[&str], value: &str) -> Result<Vec<String>, OpsError> {
        let project = Project::from_text("vdeploy.toml", toml, Path::new("/")).unwrap();
        let mut plan = project.plan(&"restart".into()).unwrap().clone();
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        for set in &set {
            vdeploy_config::apply_set(&mut plan, set, &mut vdeploy_config::Overrides::default())
                .unwrap();
        }
        let configs = plan
            .all_steps()
            .map(|s| (s.id.clone(), Value::Object(s.config.clone())))
            .collect();
        let (_, target) = project.target(None).unwrap();
        let secret = SecretValue::new(value.to_owned());
        let secrets = LoadedSecrets::new([("auth-token".to_owned(), secret)]);
        let written = Written {
            project: &project,
            plan: &plan,
            configs: &configs,
            target,
            set: &set,
            without_snapshot: None,
        };
        check(&written, &secrets)
    }

    fn config(key: &str, value: &str) -> String {
        format!(
            "[plans.restart]\nextends = \"restart\"\n[[plans.restart.step]]\nid = \"restart\"\n\
             [plans.restart.step.config]\nport = 3000\n{key} = \"{value}\"\n"
        )
    }

    #[test]
    fn a_value_is_found_with_its_place_and_never_told() {
        let base64 = "dG9rLTRmOWExYzc3ZTJiMGQ1";
        for (toml, set, place) in [
            (config("log", TOKEN), None, "vdeploy.toml:7:"),
            (
                config("log", &format!("a{TOKEN}b")),
                None,
                "vdeploy.toml:7:",
            ),
            (config("log", base64), None, "vdeploy.toml:7:"),
            (
                config(&format!("env.{TOKEN}"), "1"),
                None,
                "vdeploy.toml:7:",
            ),
            (
                String::new(),
                Some(format!("restart.env.T={TOKEN}")),
                "--set restart.env.T: ",
            ),
            (
                String::new(),
                Some(format!("restart.args=[\"x {TOKEN}\"]")),
                "--set restart.args: ",
            ),
        ] {
            let set: Vec<&str> = set.as_deref().into_iter().collect();
            let error = ask(&toml, &set, TOKEN).unwrap_err();
            assert_eq!(error.kind, OpsErrorKind::Refused);
            let text = error.to_string();
            assert!(text.contains("secret.in-config"), "{text}");
            assert!(text.contains(place), "{text}");
            assert!(text.contains("secret `auth-token`"), "{text}");
            assert!(!text.contains(TOKEN) && !text.contains(base64), "{text}");
        }
        assert!(
            ask(&config("log", "another"), &[], TOKEN)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn ordinary_and_short_values_are_warned_of_and_refuse_nothing() {
        for (value, what) in [
            ("none", "is an ordinary word"),
            ("3000", "is short"),
            ("vers-agent-services", "is short, or made of plain words"),
        ] {
            let warnings = ask(&config("log", "nonesuch"), &[], value).unwrap();
            assert!(warnings[0].contains(what), "{warnings:?}");
            assert!(warnings[0].contains("environment variable"), "{warnings:?}");
            assert!(!warnings[0].contains(value), "{warnings:?}");
        }
        let warnings = ask(&config("log", "none"), &[], "none").unwrap();
        assert!(warnings[1].starts_with("vdeploy.toml:7:"), "{warnings:?}");
    }
}
