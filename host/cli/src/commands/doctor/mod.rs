//! `vdeploy doctor`: everything that would stop a run, before it begins, each
//! with what to do.

mod render;

use crate::Global;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::invocation::GlobalFlags;
use crate::options;
use clap::Args;
use render::Renderer;
use vdeploy_ops::doctor::{Doctor, diagnose};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy doctor                              would `vdeploy run` go through?
  vdeploy doctor --target staging --ref v1.4  the same for another target and version
  vdeploy doctor --plan smoke                 only what this plan needs
  vdeploy doctor --json | jq 'select(.status == \"failed\")'";

/// Arguments of `vdeploy doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// The plan that is to be run [default: default]
    #[arg(long, short, default_value = "default", hide_default_value = true)]
    pub plan: String,
    /// The target [default: the only one, or `default-target` of the project]
    #[arg(long, short)]
    pub target: Option<String>,
    /// What is to be deployed: a branch, tag or full commit id [default: as
    /// the plan says, `main`]
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// One JSON object a line on stdout: a check each, and the end
    #[arg(long)]
    pub json: bool,
}

/// Checks everything; the exit code is the one that a run would get.
pub async fn main(global: &Global, args: DoctorArgs) -> Result<ExitCode, CliError> {
    let options = options::session_options(global)?;
    let doctor = Doctor {
        plan: args.plan,
        target: args.target,
        reference: args.reference,
    };
    let mut renderer = Renderer::new(args.json, global.verbose, GlobalFlags::of(global));
    let found = diagnose(&options, &doctor, |check| renderer.check(check)).await;
    let exit = found.failure.map_or(ExitCode::Success, ExitCode::from);
    renderer.end(&found.checks, exit);
    Ok(exit)
}
