//! The command line: arguments in, exit code out. Only this module and
//! `report` print; only this module and `config` read the environment.

#[path = "../ops/abandon/mod.rs"]
mod abandon;
mod arguments;
#[path = "../ops/prepare/unverified_probes.rs"]
mod by_word;
mod compiles;
mod core_dumps;
#[path = "../ops/lease/reclaim.rs"]
mod dead;
#[path = "../ops/doctor/mod.rs"]
mod doctor;
mod error;
pub mod exit;
#[path = "../ops/recording.rs"]
mod export;
#[path = "../ops/prepare/compat.rs"]
mod fits;
#[path = "../ops/lease/holder.rs"]
mod hold;
mod init;
mod lease;
#[path = "../ops/lease/orphans.rs"]
mod left;
#[path = "../ops/prepare/plugins.rs"]
mod load;
mod local;
mod output;
#[path = "../ops/prepare/state_owners.rs"]
mod owners;
mod plan;
mod plugin;
#[path = "../ops/prepare/plugin_file.rs"]
mod plugin_file;
#[path = "../ops/prune.rs"]
mod prune;
#[path = "../ops/target/registry.rs"]
mod registry;
#[path = "../ops/replay.rs"]
mod replay;
#[path = "replay_render.rs"]
mod replay_words;
#[path = "../ops/operation/resume.rs"]
mod resume;
#[path = "../ops/operation/rollback.rs"]
mod rollback;
mod run;
mod runs;
#[path = "../ops/target/ssh_target.rs"]
mod server;
#[path = "../ops/session.rs"]
mod session;
mod signals;
#[path = "../ops/execute/mod.rs"]
mod start;
mod terminal;
#[path = "invocation.rs"]
mod typed;
#[path = "../ops/operation/interrupted.rs"]
mod unfinished;
#[path = "../ops/target/user.rs"]
mod user;
#[path = "../ops/target/connect.rs"]
mod visit;
#[path = "../ops/lease/wait.rs"]
mod wait;
#[path = "../ops/execute/wake.rs"]
mod wake;
#[path = "../ops/prepare/rollback_readiness.rs"]
mod way_back;
#[path = "../ops/target/mod.rs"]
mod world;

pub use arguments::Arguments;
pub use compiles::only_compiles;
pub use core_dumps::forbid_core_dumps;
pub use error::CliError;
pub use exit::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
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
    /// Go on with a run that was cut off
    Resume(resume::ResumeArgs),
    /// Leave a run that was cut off as it is; the reason is recorded
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
    let typed = typed::Typed::of(&cli.global);
    let result = match cli.command {
        Command::Run(args) => run::main(&cli.global, args).await,
        Command::Init(args) => init::main(&cli.global, &args),
        Command::Doctor(args) => doctor::main(&cli.global, args).await,
        Command::Plan(command) => plan::main(&cli.global, command).await,
        Command::Rollback(args) => rollback::main(&cli.global, args).await,
        Command::Resume(args) => resume::main(&cli.global, args).await,
        Command::Abandon(args) => abandon::main(&cli.global, &args).await,
        Command::Replay(args) => replay::main(&cli.global, args).await,
        Command::Runs(command) => runs::main(&cli.global, command),
        Command::Lease(command) => lease::main(&cli.global, command).await,
        Command::Local(command) => local::main(&cli.global, command).await,
        Command::Plugin(command) => plugin::main(command),
    };
    result.unwrap_or_else(|error| {
        let error = error.completed(&typed);
        error.show(json);
        error.exit
    })
}
