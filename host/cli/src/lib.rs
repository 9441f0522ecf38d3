//! The command line: arguments in, exit code out. One file a command: arguments,
//! one call of `ops`, a report. Only this crate and `report` print; only this
//! crate reads the environment.

mod arguments;
mod commands;
mod compiles;
mod core_dumps;
mod error;
mod execute;
mod exit;
mod invocation;
mod options;
mod output;
mod signals;
mod terminal;
mod wait;

pub use arguments::Arguments;
pub use compiles::only_compiles;
pub use core_dumps::forbid_core_dumps;
pub use error::CliError;
pub use exit::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use commands::{
    abandon, doctor, init, lease, local, plan, plugin, replay, resume, rollback, run, runs,
};
use std::path::PathBuf;

/// Deploys a service to a VM so that the run ends in one of two states: the new
/// version is live and verified, or the old version is live and verified.
#[derive(Debug, Parser)]
#[command(name = "vdeploy", version, after_help = after_help(), max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Heading of the options that every command has.
const COMMON: &str = "Options of every command";

/// What stands below the list of commands.
fn after_help() -> String {
    format!(
        "First steps:\n  vdeploy local up --detach        a VM on this machine to try things on\n  \
         vdeploy plan show default        what a deploy does\n  vdeploy doctor                   \
         what would stop a run, and what to do\n  vdeploy run --dry-run            \
         show what would be done\n  vdeploy run                      deploy, verify, go back on \
         failure\n\n{}",
        exit::ExitCode::help()
    )
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The project file [default: vdeploy.toml here or in a parent directory,
    /// else the built-in project]
    #[arg(long, global = true, value_name = "FILE", env = "VDEPLOY_PROJECT")]
    #[arg(help_heading = COMMON, hide_env_values = true)]
    pub project: Option<PathBuf>,
    /// Where runs, leases, compiled plugins and the local cloud are kept [default:
    /// $XDG_STATE_HOME/vdeploy or ~/.local/state/vdeploy]
    #[arg(long, global = true, value_name = "DIR", env = "VDEPLOY_STATE")]
    #[arg(help_heading = COMMON, hide_env_values = true)]
    pub state: Option<PathBuf>,
    /// Start no program to get a secret: what [secrets.NAME] has as `command` is
    /// refused. For CI that runs project files of other people
    #[arg(long, global = true, env = "VDEPLOY_NO_COMMAND_SECRETS")]
    #[arg(value_parser = FalseyValueParser::new(), help_heading = COMMON, hide_env_values = true)]
    pub no_command_secrets: bool,
    /// Show every call, the output of commands and debug lines
    #[arg(long, short, global = true, help_heading = COMMON)]
    pub verbose: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy: run a plan on a target
    Run(run::RunArgs),
    /// Write a project file that works, from flags and from what is seen here
    Init(init::InitArgs),
    /// Look for everything that would stop a run, and say what to do about it
    Doctor(doctor::DoctorArgs),
    /// List, print and check plans without running them
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Bring back what was live before a run, and verify it
    Rollback(rollback::RollbackArgs),
    /// Resume an interrupted run
    Resume(resume::ResumeArgs),
    /// Leave an interrupted run as it is; the reason is recorded
    Abandon(abandon::AbandonArgs),
    /// Repeat a recorded run without its target, and show what differs
    Replay(replay::ReplayArgs),
    /// List earlier runs, show one, write one to a file, or remove old ones
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// See who holds a target, and take it away from a run
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    /// Start and stop the cloud on this machine, for first steps and rehearsals
    #[command(subcommand)]
    Local(local::LocalCommand),
    /// See what a plugin is and can do
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
}

/// Does what the arguments say and returns the process's exit code.
pub async fn main(arguments: Arguments) -> ExitCode {
    let Arguments { cli, json } = arguments;
    terminal::tracing(cli.global.verbose);
    let flags = invocation::GlobalFlags::of(&cli.global);
    let result = match cli.command {
        Command::Run(args) => run::main(&cli.global, args).await,
        Command::Init(args) => init::main(&cli.global, &args),
        Command::Doctor(args) => doctor::main(&cli.global, args).await,
        Command::Plan(command) => plan::main(&cli.global, command).await,
        Command::Rollback(args) => rollback::main(&cli.global, args).await,
        Command::Resume(args) => resume::main(&cli.global, args).await,
        Command::Abandon(args) => abandon::main(&cli.global, args).await,
        Command::Replay(args) => replay::main(&cli.global, args).await,
        Command::Runs(command) => runs::main(&cli.global, command),
        Command::Lease(command) => lease::main(&cli.global, command).await,
        Command::Local(command) => local::main(&cli.global, command).await,
        Command::Plugin(command) => plugin::main(command),
    };
    result.unwrap_or_else(|error| {
        let error = error.completed(&flags);
        error.show(json);
        error.exit
    })
}
