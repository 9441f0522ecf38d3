//! `cargo xtask`: see `cargo xtask --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::command::Failed;
use xtask::workspace::Workspace;
use xtask::{
    bench, ci, demo, dist, failure_modes, fixtures, licences, plugin_build, plugins, setup, shell,
    soak, test, wit_check,
};

/// What a checkout of vdeploy needs beyond cargo.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_version_flag = true
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the other tasks need: the wasm target, git, node, sshd,
    /// shellcheck.
    Setup,
    /// Build the built-in plugins that the host embeds.
    Plugins {
        /// Build nothing; fail when the built plugins are missing or stale.
        #[arg(long)]
        check_fresh: bool,
    },
    /// Build one plugin crate, of this workspace or not.
    PluginBuild {
        /// The directory of the crate, from the directory that you are in.
        dir: PathBuf,
        /// Where to write the component, from the directory that you are in.
        #[arg(long)]
        out: PathBuf,
        /// Use only dependencies that were downloaded already.
        #[arg(long)]
        offline: bool,
    },
    /// Build the plugins that the tests use, where they are stale.
    Fixtures,
    /// Deploy the sample service to a VM of the local cloud, from nothing.
    Demo,
    /// Run the tests.
    Test {
        /// Run those too that are not in the short run.
        #[arg(long)]
        all: bool,
        /// Passed on to `cargo test`: a filter, `-p PACKAGE`, `--lib`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run what CI runs: format, shell scripts, licences, contract, lints, tests.
    Ci,
    /// Write docs/failure-modes.md from the tables that the tests drive.
    FailureModes,
    /// Check the shell scripts with shellcheck and shfmt.
    Shell,
    /// Check licences and refused crates against deny.toml.
    Licences,
    /// Check the contract in wit/, and against its last release.
    WitCheck,
    /// Run the benchmarks of the host.
    Bench {
        /// Passed on to `cargo bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Deploy many times in a row with random faults, and measure what grows.
    Soak(soak::SoakArgs),
    /// Make the release archive of the host for this machine.
    Dist,
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let code = error.downcast_ref::<Failed>().map_or(1, Failed::code);
            ExitCode::from(code)
        }
    }
}

fn perform(task: Task) -> Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => {
            setup::linters()?;
            setup::everything(&workspace)
        }
        Task::Plugins { check_fresh: true } => plugins::check_fresh(&workspace),
        Task::Plugins { check_fresh: false } => {
            setup::wasm_target(&workspace)?;
            plugins::build(&workspace)
        }
        Task::PluginBuild { dir, out, offline } => {
            setup::wasm_target(&workspace)?;
            plugin_build::build_checked(&workspace, &dir, &out, offline)
        }
        Task::Fixtures => {
            setup::wasm_target(&workspace)?;
            fixtures::build(&workspace)
        }
        Task::Demo => demo::run(&workspace),
        Task::Test { all, args } => test::run(&workspace, all, &args),
        Task::Ci => ci::run(&workspace),
        Task::FailureModes => failure_modes::write(&workspace),
        Task::Shell => shell::check(&workspace),
        Task::Licences => licences::check(&workspace),
        Task::WitCheck => wit_check::run(&workspace),
        Task::Bench { args } => bench::run(&workspace, &args),
        Task::Soak(args) => soak::run(&workspace, &args),
        Task::Dist => dist::run(&workspace),
    }
}
