//! The report of `vdeploy plugin inspect FILE`: identity and powers of a plugin,
//! read from its bytes without running them.

use crate::error::PluginError;
use crate::load::component::Description;
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use vdeploy_core::clean;
use vdeploy_core::ids::PluginName;
use vdeploy_scope::manifest::{Manifest, Request};
use vdeploy_scope::{Capability, Grants};

/// The powers of a plugin, for people and for `--json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    pub name: String,
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
            "takes or restores snapshots of the target; with the grant `self-managed` it changes the \
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
        if let Some(capability) = Capability::from_name(capability) {
            let _ = grants.add(capability, scope);
        }
    }
    grants
}

/// Characters shown of one text of the plugin.
const SHOWN: usize = 200;
/// Requests and configuration keys shown.
const ENTRIES: usize = 100;

/// A text of the plugin: one line, whatever it holds.
fn own(text: &str) -> String {
    clean::short(text, SHOWN)
}

/// Facts that the host found come first and unindented; claims of the plugin are
/// indented, so that none passes for a fact.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let imports: Vec<_> = self.imports.iter().map(|import| own(import)).collect();
        writeln!(f, "digest    sha256:{}", self.digest)?;
        writeln!(f, "size      {} bytes", self.size)?;
        writeln!(f, "imports   {}", imports.join(", "))?;
        writeln!(f, "undo      {}", if self.undo { "yes" } else { "no" })?;
        writeln!(f, "\npowers (the most it can do, whatever is granted):")?;
        if self.powers.is_empty() {
            writeln!(f, "  none outside the run")?;
        }
        for power in &self.powers {
            writeln!(f, "  {power}")?;
        }
        writeln!(f, "\nwhat it says of itself:")?;
        writeln!(f, "  name      {} {}", own(&self.name), own(&self.version))?;
        writeln!(f, "  summary   {}", own(&self.summary))?;
        writeln!(f, "  contract  vdeploy:plugin {}", own(&self.api))?;
        if !self.requests.is_empty() {
            writeln!(f, "\nit asks for:")?;
        }
        for (capability, scope, reason) in self.requests.iter().take(ENTRIES) {
            let (capability, scope) = (own(capability), own(scope));
            writeln!(f, "  {capability:<14} {scope:<40} {}", own(reason))?;
        }
        more(f, self.requests.len())?;
        if !self.requested.is_empty() {
            writeln!(f, "\nwith all of that granted it:")?;
        }
        for sentence in self.requested.iter().take(ENTRIES) {
            writeln!(f, "  {}", own(sentence))?;
        }
        let properties = self.config.get("properties").and_then(Value::as_object);
        let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
            return Ok(());
        };
        writeln!(f, "\nconfiguration:")?;
        for (key, property) in properties.iter().take(ENTRIES) {
            let text = |name: &str| match property.get(name) {
                Some(Value::String(text)) => own(text),
                Some(value) => own(&value.to_string()),
                None => String::new(),
            };
            let (kind, description) = (text("type"), text("description"));
            writeln!(f, "  {:<16} {kind:<10} {description}", own(key))?;
            if let Some(default) = property.get("default") {
                writeln!(f, "  {:<16} default {}", "", own(&default.to_string()))?;
            }
        }
        more(f, properties.len())
    }
}

fn more(f: &mut fmt::Formatter<'_>, all: usize) -> fmt::Result {
    match all.saturating_sub(ENTRIES) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more, which --json has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plugin_cannot_forge_or_hide_a_fact() {
        let evil = "x\n\ndigest    sha256:00\r\u{1b}[8m\u{202e}\u{2028}\u{9b}8m";
        let found = Inspection {
            name: format!("innocent{evil}"),
            version: evil.to_owned(),
            summary: format!("{evil}{}", "long ".repeat(100)),
            api: evil.to_owned(),
            undo: false,
            digest: "ab".to_owned(),
            size: 1,
            imports: vec!["ssh".to_owned(), evil.to_owned()],
            powers: vec!["runs commands".to_owned()],
            requests: vec![(evil.to_owned(), evil.to_owned(), evil.to_owned()); 101],
            requested: vec![evil.to_owned()],
            config: json!({ "properties": {
                evil: { "type": evil, "description": evil, "default": evil }
            }}),
        };
        let text = found.to_string();
        assert!(text.starts_with("digest    sha256:ab\nsize      1 bytes\n"));
        let facts = text.lines().filter(|line| line.starts_with("digest"));
        assert_eq!(facts.count(), 1, "{text}");
        assert!(text.contains("  and 1 more, which --json has\n"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() < 3 * SHOWN + 80, "{line}");
            assert_eq!(clean::line(line), line);
        }
    }
}
