//! From bytes to a plugin that may be called: digest, manifest, imports against
//! grants, compiled code, linker with the granted interfaces only.

use super::bindings::vdeploy::plugin as contract;
use super::engine::{Engine, Limits};
use super::error::PluginError;
use super::manifest::{Manifest, SECTION};
use super::outline::Outline;
use super::state::HostState;
use crate::capability::grant::Grants;
use crate::ids::{Digest, PluginName};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use wasmtime::component::{Component, HasSelf, Linker};

/// The package every import must come from.
const PACKAGE: &str = "vdeploy:plugin/";

/// What this host offers of the package.
const INTERFACES: [&str; 11] = [
    "types",
    "context",
    "log",
    "checks",
    "clock",
    "secrets",
    "secrets-reveal",
    "http",
    "ssh",
    "snapshot",
    "state",
];

/// What can be read from a plugin's bytes without compiling them.
#[derive(Clone, Debug)]
pub struct Description {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: usize,
    /// The embedded manifest.
    pub manifest: Manifest,
    /// Interfaces with functions that it imports, for example `ssh`, without
    /// package and version.
    pub interfaces: Vec<String>,
    /// Interfaces it exports.
    pub exports: Vec<String>,
}

impl Description {
    /// Reads `bytes` as the plugin `name`.
    pub fn read(name: &PluginName, bytes: &[u8]) -> Result<Self, PluginError> {
        let load = |message: String| PluginError::Load {
            plugin: name.clone(),
            message,
        };
        let outline = Outline::read(bytes).map_err(load)?;
        let manifest = outline.manifest.ok_or_else(|| {
            load(format!(
                "it has no manifest (custom section `{SECTION}`); is it a vdeploy plugin?"
            ))
        })?;
        let text = std::str::from_utf8(&manifest)
            .map_err(|_| load("its manifest is not UTF-8".to_owned()))?;
        let manifest = Manifest::parse(text).map_err(load)?;
        let mut interfaces = Vec::new();
        for import in &outline.imports {
            let interface = interface(name, &import.name)?;
            if import.calls {
                interfaces.push(interface);
            }
        }
        let description = Self {
            digest: digest(bytes),
            size: bytes.len(),
            manifest,
            interfaces,
            exports: outline
                .exports
                .iter()
                .map(|e| short(e).to_owned())
                .collect(),
        };
        if !description.exports.iter().any(|e| e == "step") {
            return Err(load(format!(
                "it does not export `{PACKAGE}step`, so there is nothing to run"
            )));
        }
        if description.manifest.undo != description.has_undo() {
            return Err(load(format!(
                "its manifest says `undo = {}` and the component {} `undo`; make them agree",
                description.manifest.undo,
                match description.has_undo() {
                    true => "exports",
                    false => "does not export",
                }
            )));
        }
        Ok(description)
    }

    /// Whether it can be undone.
    pub fn has_undo(&self) -> bool {
        self.exports.iter().any(|e| e == "undo")
    }
}

/// Lower-case hex SHA-256.
pub fn digest(bytes: &[u8]) -> Digest {
    let hash = Sha256::digest(bytes);
    Digest::new(hash.iter().map(|b| format!("{b:02x}")).collect::<String>())
}

/// `vdeploy:plugin/ssh@1.0.0` → `ssh`; anything else does not fit.
fn interface(plugin: &PluginName, import: &str) -> Result<String, PluginError> {
    let how = if !import.starts_with(PACKAGE) {
        "build it for wasm32-unknown-unknown so that it needs no WASI"
    } else if !INTERFACES.contains(&short(import)) {
        "update vdeploy, or build the plugin against an older SDK"
    } else {
        return Ok(short(import).to_owned());
    };
    Err(PluginError::Incompatible {
        plugin: plugin.clone(),
        message: format!(
            "it imports `{import}`, and this host offers {} of `{PACKAGE}` only; {how}",
            INTERFACES.join(", ")
        ),
    })
}

fn short(name: &str) -> &str {
    let name = name.strip_prefix(PACKAGE).unwrap_or(name);
    name.split('@').next().unwrap_or(name)
}

/// A plugin that may be called.
#[derive(Clone)]
pub struct Plugin {
    /// Its name in the project.
    pub name: PluginName,
    /// What its bytes say.
    pub description: Arc<Description>,
    /// What it may do.
    pub grants: Arc<Grants>,
    pub(super) limits: Limits,
    pub(super) component: Component,
    pub(super) linker: Arc<Linker<HostState>>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("digest", &self.description.digest)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    /// Loads `bytes` as the plugin `name` with these grants. Refuses what
    /// imports a power that is not granted, before any of its code runs.
    pub fn load(
        engine: &Engine,
        name: &PluginName,
        bytes: &[u8],
        grants: &Grants,
    ) -> Result<Self, PluginError> {
        let description = Description::read(name, bytes)?;
        for interface in &description.interfaces {
            if !grants.gives_interface(interface) {
                let wanted: Vec<String> = description
                    .manifest
                    .requests
                    .iter()
                    .filter(|r| r.capability == *interface)
                    .map(|r| r.scope.clone())
                    .collect();
                return Err(PluginError::NotGranted {
                    plugin: name.clone(),
                    interface: interface.clone(),
                    line: Grants::line_to_add(interface, name, &wanted),
                });
            }
        }
        let component =
            Component::new(engine.wasmtime(), bytes).map_err(|e| PluginError::Load {
                plugin: name.clone(),
                message: format!("{e:#}"),
            })?;
        let linker = linker(engine, grants).map_err(|e| PluginError::Engine {
            message: format!("{e:#}"),
        })?;
        linker
            .instantiate_pre(&component)
            .map_err(|e| incompatible(name, &e))?;
        Ok(Self {
            name: name.clone(),
            description: Arc::new(description),
            grants: Arc::new(grants.clone()),
            limits: engine.limits(),
            component,
            linker: Arc::new(linker),
        })
    }
}

/// A link error in words.
pub(super) fn incompatible(name: &PluginName, error: &wasmtime::Error) -> PluginError {
    PluginError::Incompatible {
        plugin: name.clone(),
        message: format!(
            "{error:#}; this host is vdeploy {} with vdeploy:plugin@1.0.0, rebuild the plugin \
             for it or update vdeploy",
            env!("CARGO_PKG_VERSION")
        ),
    }
}

/// Offers the interfaces that `grants` give, and no other. `secrets` is always
/// there, because `http` and `ssh` name its type; whether its functions may be
/// imported was decided before, and each call asks the gate.
fn linker(engine: &Engine, grants: &Grants) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine.wasmtime());
    macro_rules! offer {
        ($($interface:literal => $module:ident),+ $(,)?) => {
            $(if $interface == "secrets" || grants.gives_interface($interface) {
                contract::$module::add_to_linker::<_, HasSelf<_>>(&mut linker, |s| s)?;
            })+
        };
    }
    offer! {
        "types" => types,
        "context" => context,
        "log" => log,
        "checks" => checks,
        "clock" => clock,
        "secrets" => secrets,
        "secrets-reveal" => secrets_reveal,
        "http" => http,
        "ssh" => ssh,
        "snapshot" => snapshot,
        "state" => state,
    }
    Ok(linker)
}
