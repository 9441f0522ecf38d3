//! `vdeploy abandon`: an interrupted run is not continued; nothing is undone.

use crate::Global;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::{options, terminal};
use clap::Args;
use vdeploy_core::capability::ssh::JobId;
use vdeploy_ops::abandon::{Abandon, Abandoned, LeftThere};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy abandon --reason \"looked at it, the old version runs\"
  vdeploy abandon 01M856KE --reason \"the VM is gone\"";

/// Arguments of `vdeploy abandon`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AbandonArgs {
    /// The run: an id or its beginning [default: the target's run that was cut
    /// off]
    pub run: Option<String>,
    /// Why; it is recorded with the run
    #[arg(long, value_name = "REASON")]
    pub reason: String,
    /// The target, where no run is named
    #[arg(long, short)]
    pub target: Option<String>,
}

/// Records it, and reports what became of what the run left on the target.
pub async fn main(global: &Global, args: AbandonArgs) -> Result<ExitCode, CliError> {
    let abandon = Abandon {
        run: args.run,
        target: args.target,
        reason: args.reason.clone(),
    };
    let abandoned = options::session(global)?.abandon(abandon).await?;
    terminal::say(&format!(
        "run {} is abandoned: {}\n{}",
        abandoned.run,
        args.reason.trim(),
        left_there(&abandoned)
    ));
    Ok(ExitCode::Success)
}

fn left_there(abandoned: &Abandoned) -> String {
    let target = &abandoned.target;
    match &abandoned.there {
        LeftThere::Ended(jobs) if jobs.is_empty() => format!(
            "on the target `{target}` no command of it runs and it holds no lease; what it changed \
             there stays as it is"
        ),
        LeftThere::Ended(jobs) => {
            let jobs: Vec<String> = jobs.iter().map(job).collect();
            format!(
                "on the target `{target}` it holds no lease, and these commands, which had no end \
                 yet, were ended:\n{}\nwhat it changed there stays as it is",
                jobs.join("\n")
            )
        }
        LeftThere::Held(holder) => format!("{}; nothing was done there", holder.sentence(target)),
        LeftThere::Unknown(why) => format!(
            "what the run left on the target `{target}` could not be settled: {why}\nits lease there \
             ends by itself, and a command of it that still runs is ended before the next change"
        ),
    }
}

fn job(job: &JobId) -> String {
    format!("  job {job}, what it printed is in ~/.vdeploy/jobs/{job}.out and .err")
}
