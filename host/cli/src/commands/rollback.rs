//! `vdeploy rollback`: bring back what was live before a run.

use crate::Global;
use crate::commands::run::RollbackToArg;
use crate::error::CliError;
use crate::execute::execute;
use crate::exit::ExitCode;
use crate::output::OutputArgs;
use crate::wait::WaitArgs;
use clap::Args;
use vdeploy_ops::{Operation, Rollback};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy rollback                            undo the newest run whose change stands
  vdeploy rollback 01M856KE --to snapshot     a new VM, as it was before that run
  vdeploy rollback --dry-run                  show every change, make none";

/// Arguments of `vdeploy rollback`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RollbackArgs {
    /// The run to roll back: an id or its beginning [default: the newest run
    /// of the target whose change stands]
    pub run: Option<String>,
    /// How it is done [default: as the plan of that run says]
    #[arg(long, value_enum)]
    pub to: Option<RollbackToArg>,
    /// The target whose newest run is meant, where no run is named
    #[arg(long, short)]
    pub target: Option<String>,
    /// Set one configuration value of a step of the plan `rollback` for this
    /// run; may be given more than once
    #[arg(long, value_name = "STEP.KEY=VALUE")]
    pub set: Vec<String>,
    /// Undo a run that was undone already, and nothing has changed since
    #[arg(long, requires = "run")]
    pub again: bool,
    /// Look at the target for real, show every change, make none
    #[arg(long)]
    pub dry_run: bool,
    /// Go on without a snapshot of the state as it is now; the reason is
    /// recorded
    #[arg(long, value_name = "REASON")]
    pub without_snapshot: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Rolls the run back.
pub async fn main(global: &Global, args: RollbackArgs) -> Result<ExitCode, CliError> {
    let rollback = Rollback {
        run: args.run,
        target: args.target,
        to: args.to.map(Into::into),
        set: args.set,
        again: args.again,
        dry_run: args.dry_run,
        without_snapshot: args.without_snapshot,
        wait: args.wait.limit(),
    };
    execute(global, Operation::Rollback(rollback), &args.output).await
}
