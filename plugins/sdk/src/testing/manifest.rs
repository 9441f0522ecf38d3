//! The parts of the manifest that the fake host uses: requests and schema.

use serde_json::{Map, Value};

use super::manifest_rules;
use crate::Error;

/// The part of `plugin.toml` that the fake host needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manifest {
    pub requests: Vec<Request>,
    pub config: Map<String, Value>,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub capability: String,
    pub scope: String,
}

impl Manifest {
    /// Refuses what the host refuses to load.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        manifest_rules::read(text).map_err(|problems| Error::invalid("testing.manifest", problems))
    }

    /// Fills in defaults and refuses what the schema does not name.
    pub(crate) fn complete(&self, config: &Value) -> Result<Value, Error> {
        let schema = Value::Object(self.config.clone());
        complete(&schema, config, "config")
    }
}

fn complete(schema: &Value, value: &Value, path: &str) -> Result<Value, Error> {
    let Value::Object(value) = value else {
        return Ok(value.clone());
    };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return match value.keys().next() {
            Some(key) if path == "config" => Err(unknown(path, key)),
            _ => Ok(Value::Object(value.clone())),
        };
    };
    if let Some(key) = value.keys().find(|key| !properties.contains_key(*key))
        && schema.get("additionalProperties") != Some(&Value::Bool(true))
    {
        return Err(unknown(path, key));
    }
    let required = schema.get("required").and_then(Value::as_array);
    for key in required.into_iter().flatten().filter_map(Value::as_str) {
        if !value.contains_key(key) {
            return Err(Error::invalid(
                "config.invalid",
                format!("`{path}.{key}` is required"),
            ));
        }
    }
    let mut done = Map::new();
    for (key, property) in properties {
        if let Some(given) = value.get(key).or_else(|| property.get("default")) {
            let inner = complete(property, given, &format!("{path}.{key}"))?;
            done.insert(key.clone(), inner);
        }
    }
    Ok(Value::Object(done))
}

fn unknown(path: &str, key: &str) -> Error {
    Error::invalid(
        "config.invalid",
        format!("`{path}.{key}` is not in the manifest's schema"),
    )
}
