//! From bytes to a plugin that may be called: digest, manifest, imports against
//! grants, compiled code, linker with the granted interfaces only.

use crate::bindings::vdeploy::plugin as contract;
use crate::call::exports;
use crate::call::state::HostState;
use crate::engine::Engine;
use crate::error::PluginError;
use crate::load::bounds::Bounds;
use crate::load::features::FEATURES;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use vdeploy_core::ids::{Digest, PluginName};
use vdeploy_scope::Grants;
use vdeploy_scope::manifest::{Manifest, OFFERED, SECTION};
use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload, ValidPayload, Validator};
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
    pub manifest: Manifest,
    /// Interfaces it can call, for example `ssh`, without package and version.
    pub interfaces: Vec<String>,
    /// Interfaces it exports.
    pub exports: Vec<String>,
    /// What the largest instance of it takes in the host, in bytes.
    pub(crate) instance_bytes: usize,
}

impl Description {
    /// Reads `bytes` as the plugin `name`.
    pub fn read(name: &PluginName, bytes: &[u8]) -> Result<Self, PluginError> {
        let load = |message: String| PluginError::Load {
            plugin: name.clone(),
            message,
        };
        let broken = |e: BinaryReaderError| {
            let what = e.message().lines().next().unwrap_or_default().to_owned();
            load(format!("it is no valid WASM component: {what}"))
        };
        let mut manifest = None;
        let (types, bounds) = types(bytes).map_err(|e| match e {
            Unfit::Broken(error) => broken(error),
            Unfit::TooLarge(message) => load(message),
        })?;
        let types =
            types.ok_or_else(|| load("it is no valid WASM component: it has no end".to_owned()))?;
        let mut interfaces = Vec::new();
        let mut exports = Vec::new();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(broken)? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    return Err(load(
                        "it is a core WASM module, not a component; build it with \
                         `cargo xtask plugin-build` or `wasm-tools component new`"
                            .to_owned(),
                    ));
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let import = import.map_err(broken)?.name.name.to_owned();
                        let interface = interface(name, &import)?;
                        if calls_into(&types, &import) {
                            interfaces.push(interface);
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        exports.push(export.map_err(broken)?.name.name.to_owned());
                    }
                }
                Payload::CustomSection(section)
                    if section.name() == SECTION && manifest.is_none() =>
                {
                    let text = std::str::from_utf8(section.data())
                        .map_err(|_| load("its manifest is not UTF-8".to_owned()))?;
                    manifest = Some(Manifest::parse(text).map_err(|problems| {
                        load(format!("its manifest is not valid:\n{problems}"))
                    })?);
                }
                _ => {}
            }
        }
        let manifest = manifest.ok_or_else(|| {
            load(format!(
                "it has no manifest (custom section `{SECTION}`); is it a vdeploy plugin?"
            ))
        })?;
        let description = Self {
            digest: digest(bytes),
            size: bytes.len(),
            manifest,
            interfaces,
            exports: exports.iter().map(|e| short(e).to_owned()).collect(),
            instance_bytes: bounds.instance_bytes(),
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

/// Why reading stopped.
enum Unfit {
    Broken(BinaryReaderError),
    TooLarge(String),
}

/// Validates the structure within bounds and gives the types; none for bytes
/// that end before a component does. The bodies of the functions are left to
/// wasmtime, which validates them before it compiles them: at the first start
/// with these bytes, and not again at every one.
fn types(bytes: &[u8]) -> Result<(Option<Types>, Bounds), Unfit> {
    let mut validator = Validator::new_with_features(FEATURES);
    let mut bounds = Bounds::default();
    let mut outermost = None;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(Unfit::Broken)?;
        bounds.add(&payload).map_err(Unfit::TooLarge)?;
        if let ValidPayload::End(types) = validator.payload(&payload).map_err(Unfit::Broken)? {
            outermost = Some(types);
        }
    }
    Ok((outermost, bounds))
}

/// Whether the component imports a function of this interface, and not only a
/// type: `ssh` and `http` take secrets, so a plugin that uses them imports the
/// type `secret` without having any way to get one.
fn calls_into(types: &Types, import: &str) -> bool {
    let types = types.as_ref();
    let Some(item) = types.component_item_for_import(import) else {
        return true;
    };
    let ComponentEntityType::Instance(id) = item.ty else {
        return true;
    };
    types.get(id).is_none_or(|instance| {
        let mut exports = instance.exports.values();
        exports.any(|export| matches!(export.ty, ComponentEntityType::Func(_)))
    })
}

/// Lower-case hex SHA-256.
pub fn digest(bytes: &[u8]) -> Digest {
    let hash = Sha256::digest(bytes);
    Digest::new(hash.iter().map(|b| format!("{b:02x}")).collect::<String>())
}

/// `vdeploy:plugin/ssh@1.0.0` → `ssh`; anything else is incompatible.
fn interface(plugin: &PluginName, import: &str) -> Result<String, PluginError> {
    let how = if !import.starts_with(PACKAGE) {
        "build it for wasm32-unknown-unknown so that it needs no WASI"
    } else if !INTERFACES.contains(&short(import)) || !is_offered(import) {
        "update vdeploy, or build the plugin against an older SDK"
    } else {
        return Ok(short(import).to_owned());
    };
    Err(PluginError::Incompatible {
        plugin: plugin.clone(),
        message: format!(
            "it imports `{import}`, and this host offers {} of `{PACKAGE}` {}.{} only; {how}",
            INTERFACES.join(", "),
            OFFERED.0,
            OFFERED.1
        ),
    })
}

/// Whether this host has the version of the contract that the import names.
fn is_offered(import: &str) -> bool {
    let (major, minor) = OFFERED;
    let Some((_, version)) = import.split_once('@') else {
        return true;
    };
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    parts.next() == Some(Some(major)) && parts.next().flatten().is_some_and(|n| n <= minor)
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
    /// Keeps the clock running that the limits need; wasmtime's engine does not.
    pub(crate) engine: Engine,
    pub(crate) component: Component,
    pub(crate) linker: Arc<Linker<HostState>>,
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
        let offered = |interface: &str| grants.gives_interface(interface);
        Self::link(engine, name, bytes, description, grants, &offered)
    }

    /// Loads `bytes` to be called with a recording only: whatever it imports is
    /// there, and nothing is granted.
    pub fn load_to_replay(
        engine: &Engine,
        name: &PluginName,
        bytes: &[u8],
    ) -> Result<Self, PluginError> {
        let description = Description::read(name, bytes)?;
        let grants = Grants::default();
        Self::link(engine, name, bytes, description, &grants, &|_| true)
    }

    fn link(
        engine: &Engine,
        name: &PluginName,
        bytes: &[u8],
        description: Description,
        grants: &Grants,
        offered: &dyn Fn(&str) -> bool,
    ) -> Result<Self, PluginError> {
        let component = engine.component(name, &description.digest, bytes)?;
        exports::verify(&component, description.has_undo()).map_err(|message| {
            PluginError::Incompatible {
                plugin: name.clone(),
                message,
            }
        })?;
        let linker = linker(engine, offered).map_err(|e| PluginError::Engine {
            message: format!("{e:#}"),
        })?;
        linker
            .instantiate_pre(&component)
            .map_err(|e| incompatible(name, &e))?;
        Ok(Self {
            name: name.clone(),
            description: Arc::new(description),
            grants: Arc::new(grants.clone()),
            engine: engine.clone(),
            component,
            linker: Arc::new(linker),
        })
    }
}

/// A link error for a person.
pub(crate) fn incompatible(name: &PluginName, error: &wasmtime::Error) -> PluginError {
    PluginError::Incompatible {
        plugin: name.clone(),
        message: format!(
            "{error:#}; this host is vdeploy {} with vdeploy:plugin@1.0.0, rebuild the plugin \
             for it or update vdeploy",
            env!("CARGO_PKG_VERSION")
        ),
    }
}

/// Offers the interfaces that are `offered`, and no other.
fn linker(engine: &Engine, offered: &dyn Fn(&str) -> bool) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine.wasmtime());
    macro_rules! offer {
        ($($interface:literal => $module:ident),+ $(,)?) => {
            // `secrets` is also where the type `secret` lives, which `ssh` and
            // `http` need; `secrets.get` is refused by the gate without a grant.
            $(if $interface == "secrets" || offered($interface) {
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
