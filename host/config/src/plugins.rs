//! `[plugins.NAME]`: which bytes a plugin is, and what it is granted.

use crate::builtin::BUILTIN_PLUGINS;
use crate::read::nearest::did_you_mean;
use crate::read::parse::{At, TableReader};
use crate::read::span::Place;
use std::path::{Path, PathBuf};
use vdeploy_core::ids::Digest;
use vdeploy_scope::{Capability, Grants};

/// Where a plugin's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PluginSource {
    /// In the host binary, under this name.
    Builtin(String),
    /// In this file; absolute when the project's directory is.
    Path(PathBuf),
}

/// One plugin of the project.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// Where its bytes are.
    pub source: PluginSource,
    /// What the bytes must hash to.
    pub digest: Option<Digest>,
    /// What it may do.
    pub grants: Grants,
    /// Where the project says so.
    pub place: Place,
}

/// `[plugins.NAME]` as written.
#[derive(Debug)]
pub(super) struct RawPlugin {
    pub place: Place,
    source: Option<PluginSource>,
    digest: Option<Digest>,
    grants: Grants,
    /// Secrets that the grants name, to be looked up when all are known.
    pub secrets: Vec<At<String>>,
    /// Neither `source` nor `path` was written, right or wrong.
    adds: bool,
}

impl RawPlugin {
    /// Reads `[plugins.NAME]`. Paths are relative to `base`.
    pub(super) fn read(name: &At<String>, table: TableReader<'_>, base: &Path) -> Self {
        let what = format!("[plugins.{}]", name.value);
        table.only(&what, &["source", "path", "digest", "grants"]);
        if table.has("source") && table.has("path") {
            table.problem(
                format!("{what} has both `source` and `path`"),
                "write `path` for a file of yours, `source` for a plugin that comes with vdeploy",
            );
        }
        let source = table.read("source", parse_source).map(|s| s.value);
        let path = table
            .string("path")
            .map(|p| PluginSource::Path(base.join(p.value)));
        let mut raw = Self {
            place: name.place.clone(),
            source: source.or(path),
            digest: table.read("digest", parse_digest).map(|d| d.value),
            grants: Grants::default(),
            secrets: Vec::new(),
            adds: !table.has("source") && !table.has("path"),
        };
        if let Some(grants) = table.table("grants") {
            raw.read_grants(&name.value, grants);
        }
        raw
    }

    fn read_grants(&mut self, name: &str, table: TableReader<'_>) {
        table.only(
            &format!("[plugins.{name}.grants]"),
            &Capability::ALL.map(Capability::name),
        );
        for capability in Capability::ALL {
            let key = capability.name();
            if !capability.has_scopes() {
                if table.boolean(key) == Some(true) {
                    // A capability without scopes takes the empty one.
                    let _ = self.grants.add(capability, "");
                }
                continue;
            }
            let granted = |text: &str| {
                let mut grants = Grants::default();
                let added = grants.add(capability, text);
                added.map(|()| grants).map_err(|error| error.message)
            };
            for one in table.read_all(key, granted) {
                let names = one.value.secret_names().into_iter();
                self.secrets.extend(names.map(|name| At {
                    value: name.to_owned(),
                    place: one.place.clone(),
                }));
                self.grants.merge(one.value);
            }
        }
    }

    /// The plugin. Without a source of its own it adds grants to the built-in
    /// one of the same name; None when there is none.
    pub(super) fn over(self, builtin: Option<&PluginConfig>) -> Option<PluginConfig> {
        match (self.source, builtin) {
            (Some(source), _) => Some(PluginConfig {
                source,
                digest: self.digest,
                grants: self.grants,
                place: self.place,
            }),
            (None, Some(builtin)) if self.adds => {
                let mut grants = builtin.grants.clone();
                grants.merge(self.grants);
                Some(PluginConfig {
                    source: builtin.source.clone(),
                    digest: self.digest.or_else(|| builtin.digest.clone()),
                    grants,
                    place: self.place,
                })
            }
            // A wrong `source` was reported; keep the name known.
            (None, _) => (!self.adds).then(|| PluginConfig {
                source: PluginSource::Builtin(String::new()),
                digest: None,
                grants: self.grants,
                place: self.place,
            }),
        }
    }
}

fn parse_source(text: &str) -> Result<PluginSource, String> {
    let Some(name) = text.strip_prefix("builtin:") else {
        return Err(format!(
            "`{text}` is not a source; write \"builtin:NAME\", or `path` for a file of yours"
        ));
    };
    match BUILTIN_PLUGINS.contains(&name) {
        true => Ok(PluginSource::Builtin(name.to_owned())),
        false => Err(format!(
            "no built-in plugin `{name}`; {}",
            did_you_mean(name, "built-in plugins", BUILTIN_PLUGINS)
        )),
    }
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    match hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(Digest::new(hex.to_ascii_lowercase())),
        false => Err(format!(
            "`{text}` is not a digest; write \"sha256:\" and 64 hex digits, as sha256sum prints"
        )),
    }
}
