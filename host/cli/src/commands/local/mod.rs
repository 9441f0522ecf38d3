//! `vdeploy local`: the embedded cloud on this machine. For first steps,
//! rehearsals and tests, on trusted code: it is no security boundary.

#[cfg(feature = "local-cloud")]
mod cloud;

#[cfg(feature = "local-cloud")]
pub use cloud::main;

use clap::{Args, Subcommand};
use std::path::PathBuf;
#[cfg(not(feature = "local-cloud"))]
use {crate::Global, crate::error::CliError, crate::exit::ExitCode};

/// Subcommands of `vdeploy local`.
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Start the cloud, with a first VM when there is none; runs until Ctrl-C
    /// unless --detach
    Up(UpArgs),
    /// Stop the cloud and end every process on its VMs; what is on disk stays
    Down(DirArgs),
    /// Say whether it runs, where, and which VMs it has
    Status(StatusArgs),
}

/// Where the cloud is kept.
#[derive(Clone, Debug, Args)]
pub struct DirArgs {
    /// Where the cloud is kept [default: `local` in the state directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `vdeploy local up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub place: DirArgs,
    /// Return once the cloud is ready and leave it running in the background
    #[arg(long)]
    pub detach: bool,
}

/// `vdeploy local status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub place: DirArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// This program has no cloud.
#[cfg(not(feature = "local-cloud"))]
pub async fn main(_: &Global, _: LocalCommand) -> Result<ExitCode, CliError> {
    Err(vdeploy_ops::target::without_local_cloud().into())
}
