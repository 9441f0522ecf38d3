//! `cargo xtask plugin-build DIR --out FILE`: builds one plugin crate, which
//! need not be of this workspace, in a target directory of its own. Also how
//! cargo is called for every plugin, the built-in ones included: the same
//! target, profile and flags, so that the bytes do not depend on where the
//! checkout is.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::component;
use crate::plugins;
use crate::workspace::Workspace;

/// The target of Rust plugins: no WASI, so a plugin imports the contract only.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// `[profile.plugin]` of this workspace, for crates that do not have it.
const PROFILE: [&str; 6] = [
    "profile.plugin.inherits='release'",
    "profile.plugin.opt-level='s'",
    "profile.plugin.lto='fat'",
    "profile.plugin.codegen-units=1",
    "profile.plugin.panic='abort'",
    "profile.plugin.strip='debuginfo'",
];

/// Where the build profile `plugin` is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// In the Cargo.toml of the workspace.
    OfWorkspace,
    /// On the command line.
    Given,
}

/// Builds the plugin crate in `dir`, has the vdeploy of this checkout read it as
/// it would before it loads it, and writes it to `out`. A component that is
/// refused is not written.
///
/// # Errors
/// As [`build`], when vdeploy does not build, or when it refuses the plugin.
pub fn build_checked(workspace: &Workspace, dir: &Path, out: &Path, offline: bool) -> Result<()> {
    fs::create_dir_all(&workspace.target)?;
    let unchecked = tempfile::tempdir_in(&workspace.target)?;
    let file = unchecked.path().join("plugin.wasm");
    build(workspace, dir, &file, offline)?;
    plugins::build(workspace)?;
    // As the demo and the tests build it, so that nothing is compiled twice.
    let mut host = command::cargo(&workspace.root);
    host.args(["build", "--locked", "--workspace", "--bin", "vdeploy"]);
    if offline {
        host.arg("--offline");
    }
    command::run(&mut host)?;
    let vdeploy = workspace.debug_binary();
    let read = Command::new(&vdeploy)
        .args(["plugin", "inspect", "--json"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", vdeploy.display()))?;
    if !read.status.success() {
        let why = [&read.stderr, &read.stdout].map(|text| String::from_utf8_lossy(text));
        bail!(
            "vdeploy does not take the plugin in {}, and {} was not written\n{}",
            dir.display(),
            out.display(),
            why.join("").trim_end()
        );
    }
    let out = std::path::absolute(out)?;
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent)?;
    }
    plugins::write_whole(&out, &fs::read(&file)?)
}

/// Builds the plugin crate in `dir` and writes the component to `out`. A crate
/// without a Cargo.lock gets the one of this workspace for the time of the
/// build, so that its dependencies are those that were downloaded already;
/// `offline` holds cargo to them.
///
/// # Errors
/// When the crate does not build, is no plugin, or imports more than the
/// contract.
pub fn build(workspace: &Workspace, dir: &Path, out: &Path, offline: bool) -> Result<()> {
    let dir = dir
        .canonicalize()
        .with_context(|| format!("cannot find the crate {}", dir.display()))?;
    let lent = LentLock::where_missing(&workspace.root, &dir)?;
    let mut cargo = cargo(&workspace.root, &dir, Profile::Given);
    cargo
        .arg("--target-dir")
        .arg(workspace.target.join("vdeploy-plugin-build"));
    if offline {
        cargo.arg("--offline");
    }
    let modules = compile(&mut cargo)?;
    drop(lent);
    let core = fs::read(module_of(&modules, &dir)?)?;
    let manifest_file = dir.join("plugin.toml");
    let manifest = fs::read_to_string(&manifest_file)
        .with_context(|| format!("cannot read {}", manifest_file.display()))?;
    let name =
        plugins::manifest_name(&manifest).with_context(|| manifest_file.display().to_string())?;
    let component = component::encode(&core, Some(manifest.as_bytes()))
        .with_context(|| format!("plugin `{name}` in {}", dir.display()))?;
    let absolute = std::path::absolute(out)?;
    if let Some(parent) = absolute.parent() {
        fs::create_dir_all(parent)?;
    }
    plugins::write_whole(&absolute, &component)?;
    let imports = component::imports(&component)?;
    let summary = plugins::summary(&name, component.len(), &imports);
    eprintln!("{summary}, in {}", absolute.display());
    Ok(())
}

/// The workspace's Cargo.lock in a crate that has none; taken back when the
/// build is over, however it ended.
#[derive(Debug)]
struct LentLock(PathBuf);

impl LentLock {
    fn where_missing(root: &Path, dir: &Path) -> Result<Option<Self>> {
        let theirs = dir.join("Cargo.lock");
        if theirs.exists() {
            return Ok(None);
        }
        let ours = root.join("Cargo.lock");
        fs::copy(&ours, &theirs)
            .with_context(|| format!("cannot copy {} to {}", ours.display(), theirs.display()))?;
        Ok(Some(Self(theirs)))
    }
}

impl Drop for LentLock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// `cargo build` for plugins, run in `dir`.
pub(crate) fn cargo(root: &Path, dir: &Path, profile: Profile) -> Command {
    let mut cargo = command::cargo(dir);
    cargo.args(["build", "--lib", "--target", TARGET]);
    cargo.args(["--profile", "plugin"]);
    cargo.arg("--message-format=json-render-diagnostics");
    if profile == Profile::Given {
        for line in PROFILE {
            cargo.args(["--config", line]);
        }
    }
    // Paths end up in panic messages; the flags of the machine would end up in
    // the code.
    let mut flags = vec![remap(dir, "/plugin"), remap(root, "/vdeploy")];
    if let Some(home) = cargo_home() {
        flags.push(remap(&home, "/cargo"));
    }
    cargo.env_remove("RUSTFLAGS");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// The modules that a run of cargo made, by the directory of their package.
pub(crate) type Modules = BTreeMap<PathBuf, PathBuf>;

/// Runs a command made by [`cargo`].
pub(crate) fn compile(cargo: &mut Command) -> Result<Modules> {
    cargo.stdin(Stdio::null());
    modules(&command::output(cargo)?)
}

/// The module of the package in `dir`.
pub(crate) fn module_of<'a>(modules: &'a Modules, dir: &Path) -> Result<&'a PathBuf> {
    modules.get(dir).with_context(|| {
        format!(
            "{} made no WebAssembly module: its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`",
            dir.display()
        )
    })
}

/// Reads cargo's messages, one JSON object a line.
fn modules(messages: &str) -> Result<Modules> {
    let mut modules = Modules::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("cargo printed broken JSON")?;
        if message.get("reason").and_then(Value::as_str) != Some("compiler-artifact") {
            continue;
        }
        let manifest = message.get("manifest_path").and_then(Value::as_str);
        let Some(dir) = manifest.and_then(|path| Path::new(path).parent()) else {
            continue;
        };
        let files = message.get("filenames").and_then(Value::as_array);
        for file in files.into_iter().flatten().filter_map(Value::as_str) {
            if !file.ends_with(".wasm") {
                continue;
            }
            if modules
                .insert(dir.to_path_buf(), PathBuf::from(file))
                .is_some()
            {
                bail!("{} makes more than one WebAssembly module", dir.display());
            }
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARTIFACT: &str = r#"{"reason":"compiler-artifact","manifest_path":"/c/plugins/smoke/Cargo.toml","filenames":["/t/libsmoke.rlib","/t/smoke.wasm"]}"#;

    #[test]
    fn modules_are_found_by_the_directory_of_their_package() {
        let messages = format!(
            "{ARTIFACT}\n{}\nsome note\n{}\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/r/serde/Cargo.toml","filenames":["/t/libserde.rlib"]}"#,
            r#"{"reason":"build-finished","success":true}"#
        );
        let modules = modules(&messages).unwrap();
        let module = module_of(&modules, Path::new("/c/plugins/smoke")).unwrap();
        assert_eq!(module, Path::new("/t/smoke.wasm"));
        let error = module_of(&modules, Path::new("/r/serde")).unwrap_err();
        assert!(error.to_string().contains("cdylib"), "{error}");
    }

    #[test]
    fn a_lock_file_is_lent_only_where_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (lock, text) in [("root/Cargo.lock", "ours"), ("own/Cargo.lock", "theirs")] {
            fs::create_dir_all(at(lock).parent().unwrap()).unwrap();
            fs::write(at(lock), text).unwrap();
        }
        fs::create_dir_all(at("bare")).unwrap();

        let lent = LentLock::where_missing(&at("root"), &at("bare")).unwrap();
        assert_eq!(fs::read_to_string(at("bare/Cargo.lock")).unwrap(), "ours");
        drop(lent);
        assert!(!at("bare/Cargo.lock").exists(), "it was left behind");

        let none = LentLock::where_missing(&at("root"), &at("own")).unwrap();
        assert!(none.is_none());
        assert_eq!(fs::read_to_string(at("own/Cargo.lock")).unwrap(), "theirs");
    }

    #[test]
    fn two_modules_of_one_package_are_refused() {
        assert!(modules(&format!("{ARTIFACT}\n{ARTIFACT}")).is_err());
    }

    #[test]
    fn the_profile_for_others_is_the_one_of_the_workspace() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml"))
            .unwrap()
            .parse()
            .unwrap();
        let given: toml::Table = PROFILE.join("\n").parse().unwrap();
        assert_eq!(given["profile"]["plugin"], manifest["profile"]["plugin"]);
    }
}
