//! `cargo xtask plugins`: builds the built-in plugins, all in one run of cargo,
//! into the directory that the host's build script embeds. Does nothing when
//! what is there was made from the sources that are there.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::component;
use crate::plugin_build::{self, Profile};
use crate::sources_hash::{self, STAMP};
use crate::workspace::Workspace;

/// Packages below plugins/ that are not plugins.
const NOT_PLUGINS: [&str; 2] = ["sdk", "service"];

/// The file beside [`STAMP`] that holds the hash of what else decides the
/// bytes: compiler, dependencies, build profile. The host does not look at it,
/// so that a change of its own dependencies does not stop its build.
const BUILD_STAMP: &str = "BUILD.sha256";

/// The files that [`BUILD_STAMP`] is made from.
const BUILD_FILES: [&str; 4] = [
    "Cargo.lock",
    "Cargo.toml",
    "rust-toolchain.toml",
    "xtask/src/component.rs",
];

/// A plugin of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plugin {
    /// The name in its plugin.toml; the component's file has this name.
    pub name: String,
    /// The cargo package.
    pub package: String,
    /// The directory of its Cargo.toml and plugin.toml.
    pub dir: PathBuf,
}

/// Builds the built-in plugins unless they are fresh.
///
/// # Errors
/// When a plugin does not build, is no valid component, or imports more than
/// the contract. Then no stamp is left, so the host will not embed a mixture.
pub fn build(workspace: &Workspace) -> Result<()> {
    let plugins = find(workspace)?;
    let stamps = Stamps::of_sources(&workspace.root)?;
    if is_fresh(workspace, &plugins, &stamps) {
        eprintln!(
            "plugins: {} up to date in {}",
            plugins.len(),
            workspace.plugins.display()
        );
        return Ok(());
    }
    let built = if plugins.is_empty() {
        Vec::new()
    } else {
        compile(workspace, &plugins)?
    };
    install(&workspace.plugins, &stamps, &built)?;
    eprintln!(
        "plugins: {} built in {}",
        built.len(),
        workspace.plugins.display()
    );
    Ok(())
}

/// Builds nothing; succeeds when the built plugins are those of the sources.
///
/// # Errors
/// When they are missing or stale.
pub fn check_fresh(workspace: &Workspace) -> Result<()> {
    let plugins = find(workspace)?;
    let stamps = Stamps::of_sources(&workspace.root)?;
    if !is_fresh(workspace, &plugins, &stamps) {
        bail!(
            "the plugins in {} are missing or stale: run `cargo xtask plugins`",
            workspace.plugins.display()
        );
    }
    eprintln!("plugins: {} up to date", plugins.len());
    Ok(())
}

/// The plugins of the workspace, sorted by name.
///
/// # Errors
/// When a plugin.toml cannot be read, has no usable name, or shares it.
pub fn find(workspace: &Workspace) -> Result<Vec<Plugin>> {
    let below = workspace.root.join("plugins");
    let mut plugins = Vec::new();
    for member in &workspace.members {
        let Ok(inside) = member.dir.strip_prefix(&below) else {
            continue;
        };
        let manifest = member.dir.join("plugin.toml");
        if NOT_PLUGINS.iter().any(|name| inside == Path::new(name)) || !manifest.is_file() {
            continue;
        }
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        plugins.push(Plugin {
            name: manifest_name(&text).with_context(|| manifest.display().to_string())?,
            package: member.name.clone(),
            dir: member.dir.clone(),
        });
    }
    plugins.sort();
    let names: BTreeSet<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    if names.len() != plugins.len() {
        bail!("two plugins below plugins/ have the same name in their plugin.toml");
    }
    Ok(plugins)
}

/// The `name` of a plugin.toml. It becomes a file name, so it is held to
/// lower-case letters, digits and hyphens.
pub(crate) fn manifest_name(text: &str) -> Result<String> {
    let manifest: toml::Table = text.parse().context("not a TOML file")?;
    let name = manifest
        .get("name")
        .and_then(toml::Value::as_str)
        .context("has no `name = \"...\"`")?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) {
        bail!(
            "name `{name}`: a name begins with a letter and has only lower-case letters, digits and `-`"
        );
    }
    Ok(name.to_owned())
}

/// Compiles all plugins at once and encodes each. Returns names and components.
fn compile(workspace: &Workspace, plugins: &[Plugin]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut cargo = plugin_build::cargo(&workspace.root, &workspace.root, Profile::OfWorkspace);
    cargo.arg("--locked");
    for plugin in plugins {
        cargo.args(["--package", &plugin.package]);
    }
    let modules = plugin_build::compile(&mut cargo)?;
    let mut built = Vec::new();
    for plugin in plugins {
        let module = plugin_build::module_of(&modules, &plugin.dir)?;
        let core = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
        let manifest = fs::read(plugin.dir.join("plugin.toml"))?;
        let component = component::encode(&core, Some(&manifest))
            .with_context(|| format!("plugin `{}`", plugin.name))?;
        let imports = component::imports(&component)?;
        eprintln!("{}", summary(&plugin.name, component.len(), &imports));
        built.push((plugin.name.clone(), component));
    }
    Ok(built)
}

/// One line for a person: name, size, powers.
pub(crate) fn summary(name: &str, bytes: usize, imports: &[String]) -> String {
    let interfaces: Vec<&str> = imports
        .iter()
        .map(|import| {
            let import = import.strip_prefix(component::CONTRACT).unwrap_or(import);
            import.split('@').next().unwrap_or(import)
        })
        .collect();
    let kilobytes = bytes.div_ceil(1000);
    format!("  {name}: {kilobytes} kB, imports {}", interfaces.join(" "))
}

/// Both stamps, as they should be for the sources that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamps {
    sources: String,
    build: String,
}

impl Stamps {
    fn of_sources(root: &Path) -> Result<Self> {
        let present = BUILD_FILES
            .into_iter()
            .map(PathBuf::from)
            .filter(|file| root.join(file).is_file())
            .collect();
        Ok(Self {
            sources: sources_hash::sources_hash(root)?,
            build: sources_hash::hash_files(root, present)?,
        })
    }

    /// The stamps of what was built; none when one is missing.
    fn of_built(dir: &Path) -> Option<Self> {
        let read = |name| fs::read_to_string(dir.join(name)).ok();
        Some(Self {
            sources: read(STAMP)?.trim().to_owned(),
            build: read(BUILD_STAMP)?.trim().to_owned(),
        })
    }
}

/// Whether the directory holds exactly these plugins, made from these sources.
fn is_fresh(workspace: &Workspace, plugins: &[Plugin], stamps: &Stamps) -> bool {
    let wanted = plugins
        .iter()
        .map(|plugin| format!("{}.wasm", plugin.name))
        .collect();
    Stamps::of_built(&workspace.plugins).as_ref() == Some(stamps)
        && wasm_files(&workspace.plugins).is_ok_and(|found| found == wanted)
}

/// Puts the components and the stamps into the directory. The stamp of the
/// sources goes first and comes last: without it the host embeds nothing.
fn install(dir: &Path, stamps: &Stamps, built: &[(String, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    remove_if_there(&dir.join(STAMP))?;
    for file in wasm_files(dir)? {
        let kept = built.iter().any(|(name, _)| file == format!("{name}.wasm"));
        if !kept {
            remove_if_there(&dir.join(file))?;
        }
    }
    for (name, component) in built {
        write_whole(&dir.join(format!("{name}.wasm")), component)?;
    }
    write_whole(
        &dir.join(BUILD_STAMP),
        format!("{}\n", stamps.build).as_bytes(),
    )?;
    write_whole(&dir.join(STAMP), format!("{}\n", stamps.sources).as_bytes())
}

fn wasm_files(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".wasm") {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Writes a file so that no reader ever sees a part of it. A file that has
/// these bytes already keeps its time, so that nothing is rebuilt for it.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let write = || -> Result<()> {
        let dir = path.parent().context("a file is in a directory")?;
        let mut file = readable_by_all().tempfile_in(dir)?;
        file.write_all(contents)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A temporary file with the permissions of an ordinary one.
fn readable_by_all() -> tempfile::Builder<'static, 'static> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix sets permissions"))]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The umask takes away what the person does not want.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
