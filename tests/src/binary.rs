//! Where the built `vdeploy` is, and how programs are run.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The `vdeploy` that belongs to this test binary: in the same target
/// directory, built before by `cargo xtask test`; or the one that
/// `VDEPLOY_TEST_BINARY` names.
pub fn vdeploy() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("VDEPLOY_TEST_BINARY") {
        return Ok(path.into());
    }
    let target = profile_dir()?;
    let path = target.join("vdeploy");
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "{} is not built; run the tests with `cargo xtask test`, or build it with \
         `cargo build -p vdeploy`",
        path.display()
    )
}

/// For example `target/debug`.
pub fn profile_dir() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let deps = own.parent().context("the test binary has no directory")?;
    let dir = deps.parent().context("the test binary is not in deps/")?;
    Ok(dir.to_owned())
}

/// Where a program is, by the PATH.
pub fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("there is no `{program}` in the PATH"))
}

/// Runs a program to its end and insists on success.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if output.status.success() {
        return Ok(output);
    }
    bail!(
        "{command:?} ended with {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// `git` in `dir`, independent of the machine's configuration.
pub fn git(dir: &Path, args: &[&str]) -> Result<String> {
    let output = run(Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
