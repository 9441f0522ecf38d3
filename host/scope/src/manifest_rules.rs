//! What a manifest may say: the contract's version, capabilities that exist,
//! scopes that can be granted, a configuration schema that can be used. Every
//! way to a plugin (load, inspect, check) comes through here.

use super::capability::Capability;
use super::grants::Grants;
use super::manifest::{Manifest, Request};
use jsonschema::Validator;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::ops::Range;
use toml::Spanned;

/// Major and minor version of the contract that this host offers.
pub const OFFERED: (u64, u64) = (1, 0);

/// The manifest as written, with places.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    name: String,
    version: String,
    summary: String,
    api: Spanned<String>,
    #[serde(default)]
    undo: bool,
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
    reason: String,
}

/// Reads the manifest. The error has a line for each problem, with its place.
pub(crate) fn read(text: &str) -> Result<Manifest, String> {
    if text.len() > LONGEST {
        return Err(format!(
            "plugin.toml: it has {} bytes, and may have {LONGEST}",
            text.len()
        ));
    }
    let written: Written =
        toml::from_str(text).map_err(|e| at(text, e.span().unwrap_or_default(), e.message()))?;
    let mut problems = Vec::new();
    let mut problem = |span: Range<usize>, what: String| problems.push(at(text, span, &what));
    if let Err(what) = check_api(written.api.get_ref()) {
        problem(written.api.span(), what);
    }
    let mut requests = Vec::new();
    let mut requested = Grants::default();
    for WrittenRequest {
        capability,
        scope,
        reason,
    } in written.requests
    {
        let span = scope.as_ref().map_or(capability.span(), Spanned::span);
        let scope = scope.map(Spanned::into_inner).unwrap_or_default();
        match Capability::from_name(capability.get_ref()) {
            None => {
                let known = Capability::ALL.map(Capability::name).join(", ");
                let what = format!(
                    "there is no capability `{}`; there are: {known}",
                    capability.get_ref()
                );
                problem(capability.span(), what);
            }
            Some(capability) => {
                if let Err(error) = requested.add(capability, &scope) {
                    problem(span, error.message);
                }
            }
        }
        requests.push(Request {
            capability: capability.into_inner(),
            scope,
            reason,
        });
    }
    let span = written
        .config
        .as_ref()
        .map(Spanned::span)
        .unwrap_or_default();
    let manifest = Manifest {
        name: written.name,
        version: written.version,
        summary: written.summary,
        api: written.api.into_inner(),
        undo: written.undo,
        requests,
        requested,
        config: written.config.map(Spanned::into_inner).unwrap_or_default(),
    };
    if let Err(what) = check_schema(&manifest) {
        problem(span, what);
    }
    match problems.is_empty() {
        true => Ok(manifest),
        false => {
            let more = problems.len().saturating_sub(MOST_PROBLEMS);
            problems.truncate(MOST_PROBLEMS);
            if more > 0 {
                problems.push(format!("and {more} more"));
            }
            Err(problems.join("\n"))
        }
    }
}

/// Problems that are named.
const MOST_PROBLEMS: usize = 20;
/// Bytes of a manifest. Each problem's place is counted from its beginning.
const LONGEST: usize = 64 << 10;
/// References of a configuration's schema: two of them in each of n places can
/// make 2^n checks.
const MOST_REFERENCES: usize = 16;

fn references(schema: &Value) -> usize {
    match schema {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                usize::from(key.ends_with("ref") || key.ends_with("Ref")) + references(value)
            })
            .sum(),
        Value::Array(items) => items.iter().map(references).sum(),
        _ => 0,
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

fn check_api(api: &str) -> Result<(), String> {
    let (major, minor) = OFFERED;
    let number = |part: &str| {
        let plain = part.chars().all(|c| c.is_ascii_digit());
        plain.then(|| part.parse::<u64>().ok()).flatten()
    };
    let parts: Option<Vec<u64>> = api.split('.').map(number).collect();
    match parts.as_deref() {
        Some([asked, least]) if *asked == major && *least <= minor => Ok(()),
        Some([_, _]) => Err(format!(
            "`api = {api:?}`: this vdeploy offers {major}.0 to {major}.{minor} of the contract; \
             update vdeploy, or build the plugin against another SDK"
        )),
        _ => Err(format!(
            "`api = {api:?}` is no version of the contract; write `api = \"{major}.{minor}\"`"
        )),
    }
}

fn check_schema(manifest: &Manifest) -> Result<(), String> {
    let schema = manifest.schema();
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err("[config] describes an object: write `type = \"object\"`".to_owned());
    }
    let references = references(&schema);
    if references > MOST_REFERENCES {
        return Err(format!(
            "[config] has {references} references (`$ref`), and may have {MOST_REFERENCES}; write \
             the parts out"
        ));
    }
    Validator::new(&schema)
        .map(drop)
        .map_err(|e| format!("[config] is no valid JSON Schema: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shared with the SDK: its fake host refuses the same.
    const TABLE: &str = include_str!("../../../plugins/sdk/tests/manifests.toml");

    #[test]
    fn the_manifests_of_the_table_are_taken_and_refused_at_their_places() {
        let table: toml::Table = TABLE.parse().unwrap();
        for case in table["case"].as_array().unwrap() {
            let manifest = case["manifest"].as_str().unwrap();
            match case.get("refused").and_then(toml::Value::as_str) {
                None => drop(read(manifest).unwrap()),
                Some(refused) => {
                    let error = read(manifest).unwrap_err();
                    assert!(error.contains(refused), "{refused}: {error}");
                    let at = case["at"].as_str().unwrap();
                    let place = format!("plugin.toml:{at}: ");
                    assert!(error.starts_with(&place), "{place} {error}");
                }
            }
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = "name = 'x'\nversion = '1'\nsummary = ''\napi = 'banana'\n\
                    [[request]]\ncapability = 'files'\nreason = ''\n\
                    [[request]]\ncapability = 'ssh'\nscope = '**'\nreason = ''\n";
        let error = read(text).unwrap_err();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert!(lines[0].starts_with("plugin.toml:4:7: "), "{error}");
        assert!(lines[1].starts_with("plugin.toml:6:14: "), "{error}");
        assert!(lines[2].starts_with("plugin.toml:10:9: "), "{error}");
    }

    #[test]
    fn the_interfaces_that_need_a_grant_are_the_capabilities() {
        let grants = crate::Grants::default();
        for capability in Capability::ALL.map(Capability::name) {
            assert!(!grants.gives_interface(capability), "{capability}");
        }
    }
}
