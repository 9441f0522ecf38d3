//! `vdeploy run`: a plan on a target.

use crate::Global;
use crate::error::CliError;
use crate::execute::execute;
use crate::exit::ExitCode;
use crate::output::OutputArgs;
use crate::wait::WaitArgs;
use clap::{Args, ValueEnum};
use vdeploy_core::plan::{OnFailure, RollbackTo};
use vdeploy_ops::{Deploy, Operation};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy run                                 deploy with the plan `default`
  vdeploy run --dry-run                       show every change, make none
  vdeploy run --ref v1.4                      deploy a tag, branch or commit
  vdeploy run --plan smoke                    test the running service, change nothing
  vdeploy run --set smoke.stable-seconds=30   one setting for this run
  vdeploy run --json --junit vdeploy.xml      for a CI job";

/// Arguments of `vdeploy run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The plan; `vdeploy plan list` names them [default: default]
    #[arg(long, short, default_value = "default", hide_default_value = true)]
    pub plan: String,
    /// The target [default: the only one, or `default-target` of the project]
    #[arg(long, short)]
    pub target: Option<String>,
    /// What to deploy: a branch, tag or full commit id [default: as the plan
    /// says, `main`]
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// Set one configuration value of a step, for this run; can be repeated
    #[arg(long, value_name = "STEP.KEY=VALUE")]
    pub set: Vec<String>,
    /// What to do when a step fails after something was changed [default: as
    /// the plan says]
    #[arg(long, value_enum)]
    pub on_failure: Option<OnFailureArg>,
    /// How a rollback is done [default: as the plan says]
    #[arg(long, value_enum)]
    pub rollback_to: Option<RollbackToArg>,
    /// Look at the target for real, show every change, make none
    #[arg(long)]
    pub dry_run: bool,
    /// Change the target without a snapshot to go back to; the reason is
    /// recorded
    #[arg(long, value_name = "REASON")]
    pub without_snapshot: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `--on-failure`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum OnFailureArg {
    /// Bring the old version back and verify it
    Rollback,
    /// Leave everything as it is
    Keep,
}

impl From<OnFailureArg> for OnFailure {
    fn from(arg: OnFailureArg) -> Self {
        match arg {
            OnFailureArg::Rollback => Self::Rollback,
            OnFailureArg::Keep => Self::Keep,
        }
    }
}

/// `--rollback-to` and `vdeploy rollback --to`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RollbackToArg {
    /// On the same VM: undo the steps, old commit, old build, restart
    InPlace,
    /// From the snapshot taken before the run: on a new VM, or in place where a
    /// plugin made it
    Snapshot,
}

impl From<RollbackToArg> for RollbackTo {
    fn from(arg: RollbackToArg) -> Self {
        match arg {
            RollbackToArg::InPlace => Self::InPlace,
            RollbackToArg::Snapshot => Self::Snapshot,
        }
    }
}

/// Runs the plan.
pub async fn main(global: &Global, args: RunArgs) -> Result<ExitCode, CliError> {
    let deploy = Deploy {
        plan: args.plan,
        target: args.target,
        reference: args.reference,
        set: args.set,
        on_failure: args.on_failure.map(Into::into),
        rollback_to: args.rollback_to.map(Into::into),
        dry_run: args.dry_run,
        without_snapshot: args.without_snapshot,
        wait: args.wait.limit(),
        run: None,
    };
    execute(global, Operation::Deploy(deploy), &args.output).await
}
