//! `cargo xtask bench [-- ARGS]`: the benchmarks of the host, which embed the
//! plugins as a release does.

use anyhow::Result;

use crate::command;
use crate::plugins;
use crate::setup;
use crate::workspace::Workspace;

/// Runs the benchmarks; `args` are passed on to `cargo bench`.
///
/// # Errors
/// When something is missing, does not build, or a benchmark fails.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    setup::everything(workspace)?;
    plugins::build(workspace)?;
    command::run(
        command::cargo(&workspace.root)
            .args([
                "bench",
                "--locked",
                "--package",
                "vdeploy",
                "--bench",
                "host",
            ])
            .args(args),
    )
}
