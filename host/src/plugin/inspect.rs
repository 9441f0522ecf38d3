//! What `vdeploy plugin inspect FILE` says: who a plugin is and what it can do,
//! read from its bytes without running them.

use super::component::Description;
use super::error::PluginError;
use super::manifest::{Manifest, Request};
use crate::capability::Grants;
use crate::capability::http::HttpScope;
use crate::capability::secrets::SecretScope;
use crate::capability::snapshot::SnapshotScope;
use crate::capability::ssh::SshScope;
use crate::ids::{PluginName, is_name};
use serde::Serialize;
use serde_json::Value;

/// The powers of a plugin, for people and for `--json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// Its own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub summary: String,
    /// The contract it was written for.
    pub api: String,
    /// Whether it can be undone.
    pub undo: bool,
    /// SHA-256 of the bytes.
    pub digest: String,
    /// In bytes.
    pub size: usize,
    /// Interfaces it imports: the most it can ever do.
    pub imports: Vec<String>,
    /// Its powers in words.
    pub powers: Vec<String>,
    /// What it asks for, with reasons.
    pub requests: Vec<(String, String, String)>,
    /// What granting all of that would let it do, in words.
    pub requested: Vec<String>,
    /// JSON Schema of its configuration.
    pub config: Value,
}

impl Inspection {
    /// Reads `bytes`.
    pub fn of(name: &PluginName, bytes: &[u8]) -> Result<Self, PluginError> {
        let found = Description::read(name, bytes)?;
        let powers: Vec<String> = found.interfaces.iter().filter_map(|i| power(i)).collect();
        Ok(Self {
            undo: found.has_undo(),
            digest: found.digest.to_string(),
            size: found.size,
            powers,
            requests: found
                .manifest
                .requests
                .iter()
                .map(|r| (r.capability.clone(), r.scope.clone(), r.reason.clone()))
                .collect(),
            requested: requested(&found.manifest).sentences(),
            config: found.manifest.schema(),
            imports: found.interfaces,
            name: found.manifest.name,
            version: found.manifest.version,
            summary: found.manifest.summary,
            api: found.manifest.api,
        })
    }
}

/// What an import lets a plugin do, in one sentence; none for imports without
/// an effect outside the run.
pub fn power(interface: &str) -> Option<String> {
    let sentence = match interface {
        "ssh" => {
            "runs commands on the target, as far as the ssh grants go; with a shell, an \
             interpreter or `**` in one it can do anything there"
        }
        "http" => "sends HTTP requests from the host, as far as the http grants go",
        "secrets" => {
            "uses granted secrets by handle; beside an ssh grant that can do anything it can read \
             them"
        }
        "secrets-reveal" => "READS the values of granted secrets",
        "snapshot" => {
            "takes or restores snapshots of the target; with the grant `own` it changes the \
             target before one stands and says itself when it does"
        }
        "state" => "keeps small values between runs",
        _ => return None,
    };
    Some(sentence.to_owned())
}

/// The grants that the manifest asks for. A scope that cannot be read is none.
fn requested(manifest: &Manifest) -> Grants {
    let mut grants = Grants::default();
    for Request {
        capability, scope, ..
    } in &manifest.requests
    {
        match capability.as_str() {
            "ssh" => grants.ssh.extend(SshScope::parse(scope)),
            "http" => grants.http.extend(HttpScope::parse(scope)),
            "secrets" => grants.secrets.extend(SecretScope::parse(scope)),
            "secrets-reveal" if is_name(scope) => grants.secrets_reveal.push(scope.clone()),
            "snapshot" => grants.snapshot.extend(SnapshotScope::parse(scope)),
            "state" => grants.state = true,
            _ => {}
        }
    }
    grants
}

impl std::fmt::Display for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {} - {}", self.name, self.version, self.summary)?;
        writeln!(f, "contract  vdeploy:plugin {}", self.api)?;
        writeln!(f, "size      {} bytes", self.size)?;
        writeln!(f, "digest    sha256:{}", self.digest)?;
        writeln!(f, "undo      {}", if self.undo { "yes" } else { "no" })?;
        writeln!(f, "imports   {}", self.imports.join(", "))?;
        writeln!(f, "\npowers (the most it can do, whatever is granted):")?;
        if self.powers.is_empty() {
            writeln!(f, "  none outside the run")?;
        }
        for power in &self.powers {
            writeln!(f, "  {power}")?;
        }
        if !self.requests.is_empty() {
            writeln!(f, "\nit asks for:")?;
            for (capability, scope, reason) in &self.requests {
                writeln!(f, "  {capability:<14} {scope:<40} {reason}")?;
            }
            writeln!(f, "\nwith all of that granted it:")?;
            for sentence in &self.requested {
                writeln!(f, "  {sentence}")?;
            }
        }
        if let Some(properties) = self.config.get("properties").and_then(Value::as_object)
            && !properties.is_empty()
        {
            writeln!(f, "\nconfiguration:")?;
            for (key, property) in properties {
                let text = |name: &str| {
                    property
                        .get(name)
                        .map(ToString::to_string)
                        .unwrap_or_default()
                };
                let description = property
                    .get("description")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                writeln!(
                    f,
                    "  {key:<16} {:<10} {description}",
                    text("type").trim_matches('"')
                )?;
                if property.get("default").is_some() {
                    writeln!(f, "  {:<16} default {}", "", text("default"))?;
                }
            }
        }
        Ok(())
    }
}
