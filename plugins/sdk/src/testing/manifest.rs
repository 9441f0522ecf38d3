//! The manifest as the fake host uses it: what it asks for is granted, and the
//! configuration is completed by its schema. Both with the host's own code.

use serde_json::Value;
use vdeploy_scope::Grants;

use crate::Error;

/// A manifest that the host would load.
#[derive(Debug, Clone)]
pub(crate) struct Manifest(vdeploy_scope::Manifest);

impl Manifest {
    /// Refuses what the host refuses to load (`testing.manifest`).
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        vdeploy_scope::Manifest::parse(text)
            .map(Self)
            .map_err(|problems| Error::invalid("testing.manifest", problems))
    }

    /// Everything that the manifest asks for.
    pub(crate) fn grants(&self) -> &Grants {
        &self.0.requested
    }

    /// Fills in defaults; `config.invalid` with every problem.
    pub(crate) fn complete(&self, config: &Value) -> Result<Value, Error> {
        let empty = serde_json::Map::new();
        let given = config.as_object().unwrap_or(&empty);
        match self.0.complete(given) {
            Ok(complete) => Ok(Value::Object(complete)),
            Err(problems) => {
                let problems: Vec<String> = problems.into_iter().map(|p| p.message).collect();
                Err(Error::invalid("config.invalid", problems.join("\n")))
            }
        }
    }
}
