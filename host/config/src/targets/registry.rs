//! `vm-registry` and what belongs to it: the VM is looked up in the registry
//! that a service keeps.

use super::parts::parse_origin;
use crate::read::parse::{At, TableReader};
use vdeploy_scope::address::is_loopback;

/// The registry that names the VM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrySource {
    /// The service's address, without a slash at the end.
    pub url: String,
    /// Name of the secret with its token.
    pub token: At<String>,
    /// The role of the VM.
    pub role: String,
    /// What must run on it, by name.
    pub services: Vec<String>,
}

/// The keys besides `vm-registry`.
pub(super) const KEYS: [&str; 3] = ["registry-token", "registry-role", "registry-services"];

/// Reads the keys of a table that has `vm-registry`.
pub(super) fn read(table: &TableReader<'_>) -> Option<RegistrySource> {
    let url = table.read("vm-registry", parse_url)?.value;
    let token = match table.has("registry-token") {
        true => table.string("registry-token")?,
        false => At {
            value: "auth-token".to_owned(),
            place: table.place(),
        },
    };
    let role = match table.has("registry-role") {
        true => table.string("registry-role")?.value,
        false => "infra".to_owned(),
    };
    let services = match table.has("registry-services") {
        true => table
            .strings("registry-services")
            .into_iter()
            .map(|s| s.value)
            .collect(),
        false => ["board", "feed", "registry"].map(str::to_owned).to_vec(),
    };
    Some(RegistrySource {
        url,
        token,
        role,
        services,
    })
}

fn parse_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let url = parse_origin(text, "vm-registry")?;
    match url.scheme() == "https" || is_loopback(&url) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` would send the service's token unencrypted; write an https URL"
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Project, TargetConfig, VmSource};
    use std::path::Path;

    fn project(lines: &str) -> Result<Project, String> {
        let text = format!("[targets.infra]\ntype = \"vers\"\nhost-key = \"first-use\"\n{lines}\n");
        Project::from_text("vdeploy.toml", &text, Path::new(".")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_registry_has_defaults_and_its_token_is_fetched() {
        let project = project("vm-registry = \"https://services.example.com/\"").unwrap();
        let (_, target) = project.target(None).unwrap();
        let secrets: Vec<&str> = target
            .kind()
            .secrets()
            .into_iter()
            .map(|s| s.value.as_str())
            .collect();
        assert_eq!(secrets, ["vers-api-key", "auth-token"]);
        let TargetConfig::Vers(target) = target else {
            panic!("{target:?}");
        };
        let VmSource::Registry(source) = &target.vm else {
            panic!("{:?}", target.vm);
        };
        assert_eq!(source.url, "https://services.example.com");
        assert_eq!(source.role, "infra");
        assert_eq!(source.services, ["board", "feed", "registry"]);
    }

    #[test]
    fn what_makes_no_sense_is_said_with_its_place() {
        for (lines, says) in [
            ("", "does not say which VM"),
            (
                "vm = \"a\"\nvm-registry = \"https://x.y\"",
                "more than one of",
            ),
            (
                "vm = \"a\"\nregistry-role = \"infra\"",
                "`registry-role` without `vm-registry`",
            ),
            ("vm-registry = \"http://x.y\"", "unencrypted"),
            (
                "vm-registry = \"https://x.y/registry\"",
                "more than a host and a port",
            ),
        ] {
            let error = project(lines).unwrap_err();
            assert!(
                error.contains(says) && error.contains("vdeploy.toml:"),
                "{error}"
            );
        }
    }
}
