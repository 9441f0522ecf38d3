//! `vdeploy lease`: who holds a target, and taking it away from a run that will
//! not give it back. Owns the words and the question; the leases are the
//! store's and the target's.

#[path = "../ops/lease/break_lease.rs"]
mod end;
#[path = "../ops/lease/status.rs"]
mod look;
#[path = "lease/render.rs"]
mod show;

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::session::Session;
use clap::{Args, Subcommand};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy lease show                          who holds the target, and until when
  vdeploy lease break --reason \"runner 4 is gone\"
                                              its run can change nothing more
  vdeploy lease break --reason \"…\" --yes      the same without a terminal";

/// Subcommands of `vdeploy lease`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum LeaseCommand {
    /// Say who holds the target, here and on the target itself
    Show {
        /// The target [default: the only one, or `default-target` of the project]
        #[arg(long, short)]
        target: Option<String>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take the target away from the run that holds it: it can change nothing
    /// more and ends with exit code 40
    Break(BreakArgs),
}

/// Arguments of `vdeploy lease break`.
#[derive(Debug, Args)]
pub struct BreakArgs {
    /// Why; it is recorded, and the run that loses the target is told
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The target [default: the only one, or `default-target` of the project]
    #[arg(long, short)]
    pub target: Option<String>,
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long)]
    pub yes: bool,
}

pub(super) use show::sentence as broken;

/// Does it.
pub async fn main(global: &Global, command: LeaseCommand) -> Result<ExitCode, CliError> {
    let session = Session::open(global)?;
    match command {
        LeaseCommand::Show { target, json } => {
            let looked = look::only(&session, target.as_deref()).await?;
            let exit = looked.exit();
            show::print(&looked, json);
            Ok(exit)
        }
        LeaseCommand::Break(args) => end::main(&session, &args).await,
    }
}
