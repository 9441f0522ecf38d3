//! Whether the target resolves the names of its git remote and npm registry,
//! and connects to the registry. One probe.
//!
//! This module must not judge the result.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

use crate::facts::pairs;

const NETWORK: &str = include_str!("network.sh");
/// Longer than the sum of all deadlines in the script.
const TIMEOUT: Duration = Duration::from_secs(45);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub resolved: Vec<String>,
    pub unresolved: Vec<String>,
    /// None where npm is missing.
    pub registry: Option<Registry>,
}

/// The npm registry that the target is configured for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// Without user name and password.
    pub url: String,
    pub answer: RegistryAnswer,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RegistryAnswer {
    #[default]
    Ok,
    /// It answers and denies access.
    Refused {
        /// For example `E401`.
        code: String,
    },
    /// No answer, or none of a registry.
    Down {
        /// Message of npm.
        why: String,
    },
}

/// A probe.
///
/// # Errors
/// Those of ssh, and `command.failed` when the target has no working shell.
pub fn read<C>(cx: &Cx<C>, app_dir: &str) -> Result<Network, Error> {
    let output = cx
        .script("network", NETWORK)
        .cwd(app_dir)
        .timeout(TIMEOUT)
        .probe()?
        .into_success("check the network of the target")?;
    Ok(parse(&output.stdout_text()))
}

fn parse(text: &str) -> Network {
    let mut network = Network::default();
    let (mut url, mut code, mut said) = (None, "", "");
    for (key, value) in pairs(text) {
        match key {
            "resolves" => network.resolved.push(value.to_owned()),
            "unresolved" => network.unresolved.push(value.to_owned()),
            "registry" => url = Some(value.to_owned()),
            "registry-answer" => code = value,
            "registry-said" => said = value.trim(),
            _ => {}
        }
    }
    network.registry = url.map(|url| Registry {
        url,
        answer: answer(code, said),
    });
    network
}

/// A registry without `ping` answers 404 or 405; it is up.
fn answer(code: &str, said: &str) -> RegistryAnswer {
    match code {
        "ok" | "E404" | "E405" => RegistryAnswer::Ok,
        "E401" | "E403" => RegistryAnswer::Refused {
            code: code.to_owned(),
        },
        code => RegistryAnswer::Down {
            why: format!("{code} {said}").trim().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_answers_differs_from_one_that_does_not() {
        let registry = |text: &str| parse(text).registry.unwrap();
        let up = registry("registry=https://r.example/npm\nregistry-answer=ok\n");
        assert_eq!(up.url, "https://r.example/npm");
        assert_eq!(up.answer, RegistryAnswer::Ok);
        let old = registry("registry=https://r.example/\nregistry-answer=E404\n");
        assert_eq!(old.answer, RegistryAnswer::Ok);
        let closed = registry("registry=https://r.example/\nregistry-answer=E401\n");
        assert!(matches!(closed.answer, RegistryAnswer::Refused { .. }));
        let down = registry(
            "registry=http://127.0.0.1:1/\nregistry-answer=ECONNREFUSED\nregistry-said=syscall connect \n",
        );
        let why = "ECONNREFUSED syscall connect".to_owned();
        assert_eq!(down.answer, RegistryAnswer::Down { why });
        assert_eq!(
            parse("unresolved=git.example\n").unresolved,
            ["git.example"]
        );
    }
}
