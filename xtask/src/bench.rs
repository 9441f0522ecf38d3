//! `cargo xtask bench [ARGS]`: the benchmarks of the host, which embed the
//! plugins as a release does, and of what a run pays to a target.

use anyhow::Result;

use crate::command;
use crate::fixtures;
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
    fixtures::build(workspace)?;
    let mut bench = command::cargo(&workspace.root);
    bench.args(["bench", "--locked", "--package", "vdeploy"]);
    if !args.iter().any(|arg| arg == "--bench") {
        bench.args(["--bench", "host", "--bench", "target"]);
    }
    command::run(bench.args(args))
}
