//! `cargo xtask dist`: the release archive of the host for the machine that
//! builds it, with its SHA-256 beside it, in `<target>/dist`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::command;
use crate::plugins;
use crate::setup;
use crate::workspace::Workspace;

/// What goes into the archive beside the program, from the checkout.
const DOCUMENTS: [&str; 2] = ["README.md", "LICENSE"];

/// Makes the archive.
///
/// # Errors
/// When something is missing or does not build.
pub fn run(workspace: &Workspace) -> Result<()> {
    setup::wasm_target(workspace)?;
    plugins::build(workspace)?;
    command::run(command::cargo(&workspace.root).args([
        "build",
        "--locked",
        "--release",
        "--package",
        "vdeploy",
    ]))?;
    let version = &workspace.member("vdeploy")?.version;
    let triple = host_triple(&command::output(Command::new("rustc").arg("-vV"))?)?;
    let name = format!("vdeploy-{version}-{triple}");
    let program = format!("vdeploy{}", env::consts::EXE_SUFFIX);

    let dist = workspace.target.join("dist");
    let staged = dist.join(&name);
    if staged.exists() {
        fs::remove_dir_all(&staged)?;
    }
    fs::create_dir_all(&staged)?;
    let mut contents = vec![workspace.target.join("release").join(program)];
    contents.extend(DOCUMENTS.map(|document| workspace.root.join(document)));
    for file in contents {
        let to = staged.join(file.file_name().unwrap_or_default());
        fs::copy(&file, to).with_context(|| format!("cannot copy {}", file.display()))?;
    }

    let archive = dist.join(format!("{name}.tar.gz"));
    command::run(
        Command::new("tar")
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(&dist)
            .arg(&name),
    )?;
    fs::remove_dir_all(&staged)?;
    let sums = write_checksum(&archive)?;
    println!("{}\n{}", archive.display(), sums.display());
    Ok(())
}

/// The triple that `rustc -vV` names as its host.
fn host_triple(text: &str) -> Result<String> {
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no host")
}

/// Writes `FILE.sha256` in the form that `sha256sum -c` reads.
fn write_checksum(archive: &Path) -> Result<PathBuf> {
    let digest: String = Sha256::digest(fs::read(archive)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let mut sums = archive.as_os_str().to_owned();
    sums.push(".sha256");
    let sums = PathBuf::from(sums);
    fs::write(&sums, format!("{digest}  {name}\n"))?;
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_triple_is_the_one_rustc_names() {
        let text = "rustc 1.95.0\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1\n";
        assert_eq!(host_triple(text).unwrap(), "x86_64-unknown-linux-gnu");
        assert!(host_triple("rustc 1.95.0").is_err());
    }

    #[test]
    fn the_checksum_is_in_the_form_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar.gz");
        fs::write(&archive, "abc").unwrap();
        let sums = write_checksum(&archive).unwrap();
        assert_eq!(sums, dir.path().join("a.tar.gz.sha256"));
        assert_eq!(
            fs::read_to_string(sums).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.tar.gz\n"
        );
    }
}
