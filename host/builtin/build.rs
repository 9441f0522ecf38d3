//! Embeds the built-in plugins: writes `builtin.rs` into `OUT_DIR`, with
//!
//! ```ignore
//! pub static BUILTIN: &[(&str, &[u8])] = &[("smoke", include_bytes!("…"))];
//! ```
//!
//! The plugins are built by `cargo xtask plugins`. A missing or stale plugin
//! ends the build here: an old plugin is never embedded silently.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../../xtask/src/sources_hash.rs"]
mod sources_hash;

use sources_hash::{PLUGINS_DIR, SOURCE_DIRS, STAMP};

/// Where the built plugins are, when that is not below the target directory.
const PLUGINS_DIR_VARIABLE: &str = "VDEPLOY_PLUGINS_DIR";

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let root = manifest_dir
        .ancestors()
        .nth(2)
        .ok_or("this package has no workspace above it")?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../xtask/src/sources_hash.rs");
    println!("cargo::rerun-if-env-changed={PLUGINS_DIR_VARIABLE}");
    for dir in SOURCE_DIRS {
        println!("cargo::rerun-if-changed={}", root.join(dir).display());
    }

    let plugins = plugins_dir(&out_dir)?;
    let stamp = plugins.join(STAMP);
    println!("cargo::rerun-if-changed={}", stamp.display());
    let built_from = fs::read_to_string(&stamp).map_err(|_| {
        format!(
            "built-in plugins are missing (no {}): run `cargo xtask plugins`",
            stamp.display()
        )
    })?;
    let wanted = sources_hash::sources_hash(root).map_err(|error| error.to_string())?;
    if built_from.trim() != wanted {
        return Err(format!(
            "built-in plugins are stale ({} is not of the plugins/ and wit/ of {}): \
             run `cargo xtask plugins`",
            stamp.display(),
            root.display()
        ));
    }

    let mut table = String::from(
        "/// The built-in plugins: name and component, in the order of their names.\n\
         pub static BUILTIN: &[(&str, &[u8])] = &[\n",
    );
    for (name, path) in components(&plugins)? {
        println!("cargo::rerun-if-changed={}", path.display());
        // Writing to a string cannot fail.
        let _ = writeln!(table, "    ({name:?}, include_bytes!({path:?})),");
    }
    table.push_str("];\n");
    let builtin = out_dir.join("builtin.rs");
    fs::write(&builtin, table).map_err(|error| format!("{}: {error}", builtin.display()))
}

/// The directory of the built plugins: as the variable says, or in the target
/// directory that `out_dir` is in.
fn plugins_dir(out_dir: &Path) -> Result<PathBuf, String> {
    if let Some(dir) = env::var_os(PLUGINS_DIR_VARIABLE) {
        return Ok(PathBuf::from(dir));
    }
    for dir in out_dir.ancestors().skip(1) {
        let plugins = dir.join(PLUGINS_DIR);
        if plugins.is_dir() || dir.join("CACHEDIR.TAG").is_file() {
            return Ok(plugins);
        }
    }
    Err(format!(
        "built-in plugins are missing (no {PLUGINS_DIR} above {}): \
         run `cargo xtask plugins`, or name their directory in {PLUGINS_DIR_VARIABLE}",
        out_dir.display()
    ))
}

/// The components in `dir`, sorted by name.
fn components(dir: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for entry in entries {
        let path = entry
            .map_err(|error| format!("{}: {error}", dir.display()))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            found.push((name.into_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
