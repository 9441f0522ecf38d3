//! `cargo xtask failure-modes`: writes the tables of `docs/failure-modes.md`
//! from those that the tests drive. A test fails when they differ.

use anyhow::Result;

use crate::command;
use crate::workspace::Workspace;

/// Writes the document.
///
/// # Errors
/// When the tests do not build, or the document cannot be written.
pub fn write(workspace: &Workspace) -> Result<()> {
    command::run(
        command::cargo(&workspace.root)
            .args(["test", "--locked", "--package", "vdeploy-tests"])
            .args(["--test", "trials", "--", "document::failure-modes"])
            .env("VDEPLOY_TESTS_WRITE", "1"),
    )
}
