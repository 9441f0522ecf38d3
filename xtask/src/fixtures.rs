//! `cargo xtask fixtures`: builds the plugins below tests/fixtures/plugins to
//! `vdeploy-fixtures/NAME.wasm` in the target directory, each only when what
//! it is made from has changed. Beside them the components that no compiler
//! makes (`handmade`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::plugin_build;
use crate::plugins;
use crate::sources_hash;
use crate::workspace::Workspace;

mod handmade;
mod hostile;

/// Where the crates are.
const FIXTURES: &str = "tests/fixtures/plugins";

/// Where the components go, below the target directory.
pub const BUILT: &str = "vdeploy-fixtures";

/// What decides the bytes besides the crate itself.
const SHARED_DIRS: [&str; 2] = ["plugins/sdk", "wit"];
const SHARED_FILES: [&str; 4] = [
    "Cargo.lock",
    "rust-toolchain.toml",
    "xtask/src/component.rs",
    "xtask/src/plugin_build.rs",
];

/// Builds every fixture that is stale.
///
/// # Errors
/// When a crate cannot be read or built.
pub fn build(workspace: &Workspace) -> Result<()> {
    let out = workspace.target.join(BUILT);
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut fresh = 0;
    for name in names(&workspace.root.join(FIXTURES))? {
        let hash = hash(&workspace.root, &name)?;
        let component = out.join(format!("{name}.wasm"));
        let stamp = out.join(format!("{name}.sha256"));
        let built_from = fs::read_to_string(&stamp).unwrap_or_default();
        if component.is_file() && built_from.trim() == hash {
            fresh += 1;
            continue;
        }
        let dir = workspace.root.join(FIXTURES).join(&name);
        // An old copy would keep dependencies that the workspace has left.
        let lock = dir.join("Cargo.lock");
        if lock.exists() {
            fs::remove_file(&lock).with_context(|| format!("cannot remove {}", lock.display()))?;
        }
        plugin_build::build(workspace, &dir, &component, false)?;
        fs::write(&stamp, format!("{hash}\n"))
            .with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    let handmade = handmade::components()?.into_iter();
    for (name, component) in handmade.chain(hostile::components()?) {
        plugins::write_whole(&out.join(format!("{name}.wasm")), &component)?;
    }
    eprintln!("fixtures: in {}, {fresh} were up to date", out.display());
    Ok(())
}

/// The crates with a plugin.toml, sorted.
fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.path().join("plugin.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The hash of all that decides the bytes of one fixture.
fn hash(root: &Path, name: &str) -> Result<String> {
    let mut files: Vec<PathBuf> = SHARED_FILES.iter().map(PathBuf::from).collect();
    for dir in SHARED_DIRS {
        sources_hash::collect(root, Path::new(dir), &mut files)?;
    }
    let own = Path::new(FIXTURES).join(name);
    let mut own_files = Vec::new();
    sources_hash::collect(root, &own, &mut own_files)?;
    // The copied lock file is a product, not a source.
    own_files.retain(|file| *file != own.join("Cargo.lock"));
    files.extend(own_files);
    Ok(sources_hash::hash_files(root, files)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in SHARED_FILES
            .into_iter()
            .chain(["plugins/sdk/a.rs", "wit/a.wit"])
            .chain(["tests/fixtures/plugins/one/plugin.toml"])
        {
            write(root.path(), file, "1");
        }
        root
    }

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_a_fixture_is_made_from_makes_it_stale_and_its_lock_file_does_not() {
        let root = checkout();
        let before = hash(root.path(), "one").unwrap();
        write(root.path(), "tests/fixtures/plugins/one/Cargo.lock", "x");
        write(root.path(), "tests/fixtures/plugins/two/plugin.toml", "x");
        assert_eq!(hash(root.path(), "one").unwrap(), before);
        for file in [
            "wit/a.wit",
            "plugins/sdk/a.rs",
            "tests/fixtures/plugins/one/b.rs",
        ] {
            let root = checkout();
            write(root.path(), file, "2");
            assert_ne!(hash(root.path(), "one").unwrap(), before, "{file}");
        }
    }

    #[test]
    fn every_crate_with_a_manifest_is_a_fixture() {
        let root = checkout();
        write(root.path(), "tests/fixtures/plugins/README.md", "x");
        write(root.path(), "tests/fixtures/plugins/no/Cargo.toml", "x");
        assert_eq!(names(&root.path().join(FIXTURES)).unwrap(), ["one"]);
    }
}
