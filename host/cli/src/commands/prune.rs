//! `vdeploy runs prune`: old runs out of the store, and their room back to the
//! disk.

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::invocation::GlobalFlags;
use crate::terminal;
use clap::Args;
use std::time::Duration;
use vdeploy_config::read::duration;
use vdeploy_core::ids::TargetName;
use vdeploy_journal::Store;
use vdeploy_journal::prune::Filter;
use vdeploy_ops::prune::{Prune, prune};
use vdeploy_report::prune::{self as render, Pruned};

/// What to type, and what stays whatever is typed.
const EXAMPLES: &str = "Examples:
  vdeploy runs prune --keep 20                     the 20 newest of each target stay
  vdeploy runs prune --older-than 30d --dry-run    show what would be removed
  vdeploy runs prune --keep 20 --older-than 30d    only what is both

At least one of --keep and --older-than is needed. A run is kept, and the reason is
printed, while a later command needs it: one that is running or was interrupted in a
change; the one that `vdeploy rollback` would undo, the last change and the last
verified run of each target; one that is rolled back by a run that stays; one that
alone knows where its target went. What is removed cannot be rolled back or
replayed any more: `vdeploy runs export` saves a run before.";

/// Arguments of `vdeploy runs prune`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PruneArgs {
    /// Remove all but so many of the newest runs of each target
    #[arg(long, value_name = "N")]
    pub keep: Option<u32>,
    /// Remove runs that began longer ago: numbers with a unit (s, m, h, d), for
    /// example 12h or 30d; with --keep a run must match both
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub older_than: Option<Duration>,
    /// Only runs on this target [default: of all targets]
    #[arg(long, short, value_name = "NAME")]
    pub target: Option<String>,
    /// Show what would be removed, remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

impl PruneArgs {
    /// A bare word must not cost anybody the history.
    pub fn check(&self) -> Result<(), CliError> {
        if self.keep.is_some() || self.older_than.is_some() {
            return Ok(());
        }
        Err(CliError::usage(
            "which runs may go is not said: give --keep N, --older-than DURATION, or both",
        )
        .hint("for example `vdeploy runs prune --keep 20 --dry-run`, which removes nothing"))
    }
}

/// Does it, or shows it.
pub fn main(
    store: &dyn Store,
    args: &PruneArgs,
    now: u64,
    flags: &GlobalFlags,
) -> Result<ExitCode, CliError> {
    let asked = Prune {
        target: args.target.as_deref().map(TargetName::from),
        filter: Filter {
            keep: args.keep,
            older_than: args.older_than,
        },
        dry_run: args.dry_run,
    };
    let done = prune(store, &asked, now)?;
    let pruned = Pruned {
        dry_run: args.dry_run,
        removed: &done.removed,
        kept: &done.kept,
        before: done.before,
        after: done.after,
        not_smaller: done.not_smaller.as_deref(),
    };
    match args.json {
        true => terminal::say_json(&render::json(&pruned)),
        false => terminal::say(
            flags
                .complete(render::text(&pruned, now).trim_end())
                .as_ref(),
        ),
    }
    Ok(match done.failed {
        true => ExitCode::Internal,
        false => ExitCode::Success,
    })
}
