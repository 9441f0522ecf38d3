//! `vdeploy resume`: continue an interrupted run.

use crate::Global;
use crate::error::CliError;
use crate::execute::execute;
use crate::exit::ExitCode;
use crate::output::OutputArgs;
use crate::wait::WaitArgs;
use clap::Args;
use vdeploy_ops::{Operation, Resume};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy resume             resume the interrupted run on the only target
  vdeploy resume 01M856KE    resume this one";

/// Arguments of `vdeploy resume`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ResumeArgs {
    /// The run: an id or its beginning [default: the target's run that was cut
    /// off]
    pub run: Option<String>,
    /// The target, where no run is named
    #[arg(long, short)]
    pub target: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Resumes the run.
pub async fn main(global: &Global, args: ResumeArgs) -> Result<ExitCode, CliError> {
    let resume = Resume {
        run: args.run,
        target: args.target,
        wait: args.wait.limit(),
    };
    execute(global, Operation::Resume(resume), &args.output).await
}
