//! Rules of the host for a manifest, so that an author sees violations in a test.
//! The table in `tests/manifests.toml` compares them with the rules of the host.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::manifest::{Manifest, Request};

/// The contract of this SDK.
const API: &str = "1.0";

const CAPABILITIES: [&str; 6] = [
    "ssh",
    "http",
    "secrets",
    "secrets-reveal",
    "snapshot",
    "state",
];

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "version")]
    _version: String,
    #[serde(rename = "summary")]
    _summary: String,
    api: Spanned<String>,
    #[serde(default, rename = "undo")]
    _undo: bool,
    #[serde(default, rename = "request")]
    requests: Vec<WrittenRequest>,
    #[serde(default)]
    config: Option<Spanned<Map<String, Value>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenRequest {
    capability: Spanned<String>,
    #[serde(default)]
    scope: Option<Spanned<String>>,
    #[serde(rename = "reason")]
    _reason: String,
}

/// Reads `plugin.toml`. The error has one line for each problem.
pub(crate) fn read(text: &str) -> Result<Manifest, String> {
    let written: Written =
        toml::from_str(text).map_err(|e| at(text, e.span().unwrap_or_default(), e.message()))?;
    let mut problems = Vec::new();
    let api = written.api.get_ref();
    if api != API {
        let is_version = api.split_once('.').is_some_and(|(major, minor)| {
            major.parse::<u64>().is_ok() && minor.parse::<u64>().is_ok()
        });
        let what = match is_version {
            true => format!("`api = {api:?}`: this SDK is made for {API} of the contract"),
            false => {
                format!("`api = {api:?}` is no version of the contract; write `api = \"{API}\"`")
            }
        };
        problems.push(at(text, written.api.span(), &what));
    }
    let mut requests = Vec::new();
    for WrittenRequest {
        capability, scope, ..
    } in written.requests
    {
        let span = scope.as_ref().map_or(capability.span(), Spanned::span);
        let scope = scope.map(Spanned::into_inner).unwrap_or_default();
        let name = capability.get_ref();
        if !CAPABILITIES.contains(&name.as_str()) {
            let known = CAPABILITIES.join(", ");
            let what = format!("there is no capability `{name}`; there are: {known}");
            problems.push(at(text, capability.span(), &what));
        } else if let Err(what) = check_scope(name, &scope) {
            let what = format!("{name} scope \"{scope}\": {what}");
            problems.push(at(text, span, &what));
        }
        requests.push(Request {
            capability: capability.into_inner(),
            scope,
        });
    }
    let span = written
        .config
        .as_ref()
        .map(Spanned::span)
        .unwrap_or_default();
    let config = written.config.map(Spanned::into_inner).unwrap_or_default();
    if config.get("type").is_some_and(|kind| kind != "object") {
        let what = "[config] describes an object: write `type = \"object\"`";
        problems.push(at(text, span, what));
    } else if let Some(what) = wrong_schema(&Value::Object(config.clone())) {
        let what = format!("[config] is no valid JSON Schema: {what}");
        problems.push(at(text, span, &what));
    }
    match problems.is_empty() {
        true => Ok(Manifest { requests, config }),
        false => Err(problems.join("\n")),
    }
}

/// `plugin.toml:LINE:COLUMN: WHAT`.
fn at(text: &str, span: Range<usize>, what: &str) -> String {
    let before = text
        .get(..text.floor_char_boundary(span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    format!("plugin.toml:{line}:{column}: {what}")
}

/// The form of a scope. The host reads it more strictly.
fn check_scope(capability: &str, scope: &str) -> Result<(), &'static str> {
    let is_name = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !text.is_empty() && text.chars().all(plain)
    };
    let words: Vec<&str> = scope.split_whitespace().collect();
    match capability {
        "ssh" => {
            let argv = scope.trim().strip_prefix("probe:").unwrap_or(scope);
            let mut argv: Vec<&str> = argv.split_whitespace().collect();
            if argv.last() == Some(&"**") {
                argv.pop();
            }
            match argv.as_slice() {
                [] => Err("it names no program"),
                words if words.iter().any(|word| word.contains("**")) => {
                    Err("it has `**` before its end")
                }
                _ => Ok(()),
            }
        }
        "http" => match words.as_slice() {
            [_, address] if address.starts_with("target/") => Ok(()),
            [_, address] if address.contains("://") => Ok(()),
            [_, _] => Err("its address is neither `target/…` nor a URL"),
            _ => Err("it is not two words"),
        },
        "secrets" => match scope.trim().split_once('@') {
            None => Err("it does not say where the secret may go"),
            Some((name, _)) if !is_name(name) => Err("it does not begin with a secret's name"),
            Some((_, "")) => Err("it does not say where the secret may go"),
            Some(_) => Ok(()),
        },
        "secrets-reveal" if is_name(scope) => Ok(()),
        "secrets-reveal" => Err("write the name only"),
        "snapshot" if matches!(scope.trim(), "create" | "restore" | "self-managed") => Ok(()),
        "snapshot" => Err("it does not exist; write \"create\", \"restore\" or \"self-managed\""),
        _ if scope.is_empty() => Ok(()),
        _ => Err("this capability has no scope; leave `scope` out"),
    }
}

/// Finds common mistakes in a schema; the host checks all of JSON Schema.
fn wrong_schema(schema: &Value) -> Option<String> {
    const TYPES: [&str; 7] = [
        "object", "array", "string", "integer", "number", "boolean", "null",
    ];
    let known = |kind: &Value| kind.as_str().is_some_and(|kind| TYPES.contains(&kind));
    match schema.get("type") {
        Some(Value::Array(kinds)) if kinds.iter().all(known) => {}
        Some(kind) if !known(kind) => return Some(format!("{kind} is no type")),
        _ => {}
    }
    let properties = schema.get("properties")?.as_object()?;
    properties.values().find_map(wrong_schema)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_of_the_table_are_taken_and_refused_at_their_places() {
        let table: toml::Table = include_str!("../../tests/manifests.toml").parse().unwrap();
        for case in table["case"].as_array().unwrap() {
            let manifest = case["manifest"].as_str().unwrap();
            match case.get("refused").and_then(toml::Value::as_str) {
                None => drop(read(manifest).unwrap()),
                Some(refused) => {
                    let error = read(manifest).unwrap_err();
                    assert!(error.contains(refused), "{refused}: {error}");
                    let place = format!("plugin.toml:{}: ", case["at"].as_str().unwrap());
                    assert!(error.starts_with(&place), "{place} {error}");
                }
            }
        }
    }
}
