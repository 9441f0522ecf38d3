//! `plugin.toml`, embedded in the component as the custom section
//! `vdeploy:manifest`: who the plugin is, what it asks for and how it is
//! configured. Read without running any of its code.

use super::grants::Grants;
use super::manifest_rules;
pub use super::manifest_rules::OFFERED;
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};

/// The custom section's name.
pub const SECTION: &str = "vdeploy:manifest";

/// The parsed manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The plugin's own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line on what it does.
    pub summary: String,
    /// The contract's version it was written for, for example `1.0`.
    pub api: String,
    /// Whether it exports `undo`.
    pub undo: bool,
    /// What it asks for; grants in the project file are what binds.
    pub requests: Vec<Request>,
    /// The grants that cover all requests.
    pub requested: Grants,
    /// JSON Schema of the configuration (an object).
    pub config: Map<String, Value>,
}

/// One wish of a plugin, with its reason.
#[derive(Clone, Debug)]
pub struct Request {
    /// ssh, http, secrets, secrets-reveal, snapshot or state.
    pub capability: String,
    /// In the capability's grammar.
    pub scope: String,
    /// Why.
    pub reason: String,
}

impl Manifest {
    /// Parses the section's text, and refuses what no plugin can have. The
    /// error has a line for each problem.
    pub fn parse(text: &str) -> Result<Self, String> {
        manifest_rules::read(text)
    }

    /// The names of the configuration's keys.
    pub fn config_keys(&self) -> impl Iterator<Item = &str> {
        self.properties()
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
    }

    fn properties(&self) -> Option<&Map<String, Value>> {
        self.config.get("properties").and_then(Value::as_object)
    }

    /// The complete JSON Schema: an object without unknown keys.
    pub fn schema(&self) -> Value {
        let mut schema = self.config.clone();
        schema.entry("type").or_insert_with(|| json!("object"));
        schema.entry("properties").or_insert_with(|| json!({}));
        schema.entry("additionalProperties").or_insert(json!(false));
        Value::Object(schema)
    }

    /// `given` with defaults filled in, or every problem of it.
    pub fn complete(
        &self,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Vec<ConfigProblem>> {
        let mut complete = given.clone();
        for (key, property) in self.properties().into_iter().flatten() {
            if let Some(default) = property.get("default") {
                complete.entry(key).or_insert_with(|| default.clone());
            }
        }
        let mut problems = Vec::new();
        for key in given.keys() {
            if !self.config_keys().any(|k| k == key) {
                problems.push(ConfigProblem {
                    pointer: below("", key),
                    message: self.unknown_key(key),
                });
            }
        }
        let schema = self.schema();
        let validator = Validator::new(&schema).map_err(|e| {
            vec![ConfigProblem {
                pointer: String::new(),
                message: format!("the plugin's configuration schema is not valid: {e}"),
            }]
        })?;
        let whole = Value::Object(complete.clone());
        for error in validator.iter_errors(&whole) {
            let mut pointer = error.instance_path().to_string();
            let key = pointer.trim_start_matches('/').replace('/', ".");
            if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
                if key.is_empty() && !problems.is_empty() {
                    continue; // The unknown key is named above, with its neighbour.
                }
                if let Some(first) = unexpected.first() {
                    pointer = below(&pointer, first);
                }
            }
            let place = if key.is_empty() {
                String::new()
            } else {
                format!("`{key}`: ")
            };
            let message = format!("{place}{error}");
            problems.push(ConfigProblem { pointer, message });
        }
        if problems.is_empty() {
            Ok(complete)
        } else {
            Err(problems)
        }
    }

    fn unknown_key(&self, key: &str) -> String {
        let near = self
            .config_keys()
            .map(|k| (strsim::damerau_levenshtein(k, key), k))
            .min()
            .filter(|(distance, k)| *distance <= 2.max(k.len() / 3));
        match near {
            Some((_, k)) => format!("unknown key `{key}`; did you mean `{k}`?"),
            None => format!(
                "unknown key `{key}`; known keys: {}",
                self.config_keys().collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

/// What does not fit the schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigProblem {
    /// JSON pointer of the value; empty for the configuration as a whole.
    pub pointer: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// The JSON pointer of a member.
fn below(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse(
            r#"
            name = "git-pull"
            version = "0.1.0"
            summary = "Fetches the code"
            api = "1.0"
            [[request]]
            capability = "ssh"
            scope = "git **"
            reason = "fetch"
            [config.properties.branch]
            type = "string"
            default = "main"
            [config.properties.depth]
            type = "integer"
            minimum = 1
            "#,
        )
        .unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn defaults_are_filled_in_and_given_values_win() {
        let m = manifest();
        assert_eq!(
            m.complete(&Map::new()).unwrap(),
            object(json!({"branch": "main"}))
        );
        let given = object(json!({"branch": "next", "depth": 3}));
        assert_eq!(m.complete(&given).unwrap(), given);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let problems = manifest()
            .complete(&object(json!({"brach": "x"})))
            .unwrap_err();
        let expected = ConfigProblem {
            pointer: "/brach".to_owned(),
            message: "unknown key `brach`; did you mean `branch`?".to_owned(),
        };
        assert_eq!(problems, [expected]);
    }

    #[test]
    fn every_problem_is_reported_with_its_pointer() {
        let m = Manifest::parse(
            r#"
            name = "x"
            version = "1"
            summary = ""
            api = "1.0"
            [config]
            required = ["must"]
            [config.properties.must]
            type = "string"
            [config.properties.inner]
            type = "object"
            additionalProperties = false
            properties.known = {}
            "#,
        )
        .unwrap();
        let given = object(json!({"no/t": 1, "inner": {"a~b": 1}}));
        let problems = m.complete(&given).unwrap_err();
        let pointers: Vec<_> = problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/no~1t", "/inner/a~0b", ""], "{problems:?}");
        assert!(problems[2].message.contains("must"), "{problems:?}");
    }

    #[test]
    fn a_wrong_type_names_the_key() {
        let problems = manifest()
            .complete(&object(json!({"depth": "deep"})))
            .unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].pointer, "/depth");
        let message = &problems[0].message;
        assert!(message.starts_with("`depth`: ") && message.contains("integer"));
    }

    #[test]
    fn an_unknown_manifest_key_is_refused() {
        let error =
            Manifest::parse("name='x'\nversion='1'\nsummary=''\napi='1.0'\npowers=1").unwrap_err();
        assert!(error.contains("powers"), "{error}");
    }
}
