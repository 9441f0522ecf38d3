//! What is made once and used by every trial, of this run and of later ones:
//! compiled plugins, and builds of the sample service. Each is found by a digest
//! of what it was made of, so an old one is never taken for a new one.

use crate::binary::find;
use anyhow::{Context as _, Result, ensure};
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// In the home of a VM: there the compiler is always asked, because the build
/// is what a trial looks at.
pub const REAL_COMPILER: &str = ".real-compiler";

/// For the user alone, or the program would not trust what is in it.
fn dir() -> Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let dir = std::env::temp_dir().join(format!("vdeploy-trials-{user}"));
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    // What is in it is executed, and everybody can write beside it.
    let owner = std::fs::symlink_metadata(&dir)?.uid();
    ensure!(owner == user, "{} belongs to user {owner}", dir.display());
    Ok(dir)
}

/// The variables that name a cache of compiled plugins and its key.
pub type PluginCache = [(&'static str, PathBuf); 2];

/// Compiled plugins.
pub fn plugins() -> Result<PluginCache> {
    let dir = dir()?;
    Ok([
        ("VDEPLOY_CACHE", dir.join("plugins")),
        ("VDEPLOY_CACHE_KEY", dir.join("plugins-key")),
    ])
}

/// Held by whoever deploys first: it compiles all plugins, and the others take
/// what it compiled.
pub fn compile_plugins() -> MutexGuard<'static, ()> {
    static COMPILES: Mutex<()> = Mutex::new(());
    COMPILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Builds of the sample service, and `bin/node`, which takes them from there.
pub fn builds() -> Result<PathBuf> {
    let builds = dir()?.join("builds");
    let bin = builds.join("bin");
    std::fs::create_dir_all(&bin)?;
    let real = find("node")?.display().to_string();
    let text = include_str!("kept_node.sh").replace("REAL_NODE", &real);
    write_program(&bin.join("node"), &text)?;
    Ok(builds)
}

/// Writes an executable file in one go: another process may be running it. A file
/// that has this text already is left alone: a process that is forked while it is
/// written keeps it open, and starting it fails with "text file busy".
pub fn write_program(path: &Path, text: &str) -> Result<()> {
    static WRITES: Mutex<()> = Mutex::new(());
    let _one = WRITES.lock().unwrap_or_else(PoisonError::into_inner);
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let name = path.file_name().context("no name")?.to_string_lossy();
    let directory = path.parent().context("no directory")?;
    let new = tempfile::Builder::new()
        .prefix(&*name)
        .permissions(Permissions::from_mode(0o755))
        .tempfile_in(directory)?;
    std::fs::write(new.path(), text)?;
    new.persist(path)?;
    Ok(())
}
