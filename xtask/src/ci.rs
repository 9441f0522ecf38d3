//! `cargo xtask ci`: what CI runs, cheap checks first. Green here is green
//! there.

use anyhow::Result;

use crate::command::{self, heading};
use crate::licences;
use crate::plugins;
use crate::setup;
use crate::shell;
use crate::test;
use crate::wit_check;
use crate::workspace::Workspace;

/// Runs every check and every test; stops at the first that fails.
///
/// # Errors
/// When a check or a test fails.
pub fn run(workspace: &Workspace) -> Result<()> {
    heading("format");
    command::run(command::cargo(&workspace.root).args(["fmt", "--all", "--check"]))?;
    heading("shell scripts");
    shell::check(workspace)?;
    heading("licences and refused crates");
    licences::check(workspace)?;
    heading("contract");
    wit_check::run(workspace)?;
    heading("setup");
    setup::everything(workspace)?;
    heading("plugins");
    plugins::build(workspace)?;
    heading("lints");
    command::run(command::cargo(&workspace.root).args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    heading("without the local cloud");
    command::run(command::cargo(&workspace.root).args([
        "check",
        "--locked",
        "--package=vdeploy",
        "--no-default-features",
    ]))?;
    test::run(workspace, false, &[])
}
