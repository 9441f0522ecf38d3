//! The hash that says which sources the built-in plugins were made from.
//!
//! Compiled twice: into `xtask`, which writes the hash beside what it builds,
//! and into the build script of the host, which refuses a plugin that was made
//! from other sources. It knows files and bytes, and nothing of cargo.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The directory below cargo's target directory that holds the built plugins.
pub const PLUGINS_DIR: &str = "vdeploy-plugins";

/// The file in that directory that holds [`sources_hash`] of what was built.
pub const STAMP: &str = "SOURCES.sha256";

/// Directories of a checkout that decide what a built-in plugin is.
pub const SOURCE_DIRS: [&str; 2] = ["plugins", "wit"];

/// Hashes every file of [`SOURCE_DIRS`] below `root`, names and contents, in
/// the order of their paths. Directories named `target` are left out. Returns
/// lower-case hexadecimal digits.
///
/// # Errors
/// When a file or directory cannot be read; the message names it.
pub fn sources_hash(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for dir in SOURCE_DIRS {
        collect(root, Path::new(dir), &mut files)?;
    }
    hash_files(root, files)
}

/// Hashes the given files, which are named relative to `root`.
///
/// # Errors
/// When a file cannot be read; the message names it.
pub fn hash_files(root: &Path, files: Vec<PathBuf>) -> io::Result<String> {
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|path| (portable_name(&path), path))
        .collect();
    named.sort();
    let mut hasher = Sha256::new();
    for (name, path) in named {
        let full = root.join(path);
        let contents = fs::read(&full).map_err(|source| in_file(&full, &source))?;
        // Lengths in front, so that no two sets of files give the same bytes.
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update((contents.len() as u64).to_le_bytes());
        hasher.update(&contents);
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Adds the files below `root/dir` to `files`, named relative to `root`.
/// Directories named `target` are left out.
///
/// # Errors
/// When a directory cannot be read; the message names it.
pub fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let full = root.join(dir);
    let entries = fs::read_dir(&full).map_err(|source| in_file(&full, &source))?;
    for entry in entries {
        let entry = entry.map_err(|source| in_file(&full, &source))?;
        let path = dir.join(entry.file_name());
        let kind = entry
            .file_type()
            .map_err(|source| in_file(&entry.path(), &source))?;
        if kind.is_dir() {
            if entry.file_name() != "target" {
                collect(root, &path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The path with `/` between its parts on every system.
fn portable_name(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

fn in_file(path: &Path, source: &io::Error) -> io::Error {
    io::Error::new(source.kind(), format!("{}: {source}", path.display()))
}
