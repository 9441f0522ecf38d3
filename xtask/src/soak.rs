//! `cargo xtask soak`: many deploys in a row on a local cloud, each with a
//! random fault; a table of what grows and what does not.

use anyhow::Result;
use clap::Args;

use crate::command::{self, heading};
use crate::fixtures;
use crate::plugins;
use crate::setup;
use crate::workspace::Workspace;

/// How long it is.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How many deploys; each takes some ten seconds.
    #[arg(long, default_value_t = 200)]
    deploys: u32,
    /// Of the random choices; one is chosen and printed where none is given.
    #[arg(long)]
    seed: Option<u64>,
}

/// Builds what it needs and runs it.
///
/// # Errors
/// When something is missing or does not build, a deploy leaves something
/// wrong, or a figure grows without end.
pub fn run(workspace: &Workspace, args: &SoakArgs) -> Result<()> {
    setup::everything(workspace)?;
    plugins::build(workspace)?;
    fixtures::build(workspace)?;
    heading("build");
    let packages = ["--package=vdeploy", "--package=vdeploy-tests"];
    command::run(
        command::cargo(&workspace.root)
            .args(["build", "--locked", "--bins", "--tests"])
            .args(packages),
    )?;
    heading("soak");
    let mut soak = command::cargo(&workspace.root);
    soak.args([
        "test",
        "--locked",
        "--package=vdeploy-tests",
        "--test=trials",
        "--",
    ]);
    soak.arg("--deploys").arg(args.deploys.to_string());
    if let Some(seed) = args.seed {
        soak.arg("--seed").arg(seed.to_string());
    }
    command::run(&mut soak)
}
