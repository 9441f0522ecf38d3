//! `vdeploy runs`: look at earlier runs, and remove them.

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::export::{self, ExportArgs};
use super::hold::{Holding, Process};
use super::prune::{self, PruneArgs};
use super::session;
use super::terminal;
use super::typed::Typed;
use crate::capability::clock::{Clock as _, SystemClock};
use crate::clean::line;
use crate::event::Outcome;
use crate::ids::{RunId, TargetName};
use crate::journal::store::{Holder, RunSummary};
use crate::journal::{Entry, Store, breaks, standing};
use crate::report::runs as render;
use clap::Subcommand;
use serde_json::Value;

/// Subcommands of `vdeploy runs`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List earlier runs, newest first
    List {
        /// Only runs on this target
        #[arg(long, short)]
        target: Option<String>,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// One JSON object, with `runs`
        #[arg(long)]
        json: bool,
    },
    /// Show one run: its steps, what it changed, how it ended
    Show {
        /// An id, its beginning, or `latest`
        #[arg(default_value = "latest")]
        run: String,
        /// One JSON object with the whole journal
        #[arg(long)]
        json: bool,
    },
    /// Write one run as one file, for `vdeploy replay` anywhere
    Export(ExportArgs),
    /// Remove old runs from the state directory, and give the space back
    Prune(PruneArgs),
}

/// Does it.
pub fn main(global: &Global, command: RunsCommand) -> Result<ExitCode, CliError> {
    if let RunsCommand::Prune(args) = &command {
        args.check()?;
    }
    let store = session::open_store(&session::state_dir(global)?)?;
    let now = SystemClock.now_unix_ms();
    let typed = Typed::of(global);
    let text = match command {
        RunsCommand::List {
            target,
            limit,
            json,
        } => {
            let target = target.map(TargetName::new);
            let runs = store.runs(target.as_ref(), limit)?;
            let running = running(&*store, runs.iter().map(|run| (&run.id, &run.target)))?;
            let abandoned = abandoned(&*store, &runs)?;
            let undone = standing::undone(&runs);
            let standing = render::Standing {
                running: &running,
                abandoned: &abandoned,
                undone: Some(&undone),
            };
            if json {
                let value = render::list_json(&runs, standing);
                terminal::give_json(&value.to_string())?;
                return Ok(ExitCode::Success);
            }
            render::list(&runs, standing, now)
        }
        RunsCommand::Export(args) => return export::main(&*store, &args),
        RunsCommand::Prune(args) => return prune::main(&*store, &args, now, &typed),
        RunsCommand::Show { run, json } => {
            let record = store.run(&run)?;
            let journal = store.journal(&record.id)?;
            let running = running(&*store, [(&record.id, &record.target)])?;
            let undone = standing::undone(&store.runs(Some(&record.target), u32::MAX)?);
            let standing = render::Standing {
                running: &running,
                undone: Some(&undone),
                ..render::Standing::default()
            };
            let broken = breaks::of_run(&*store, &record.target, &record.id)?;
            if json {
                let mut value = render::show_json(&record, &journal, standing);
                if let Some(next) = value.get_mut("next").and_then(Value::as_array_mut) {
                    for command in next {
                        *command = typed.complete(command.as_str().unwrap_or_default()).into();
                    }
                }
                if let (Some(broken), Some(members)) = (broken, value.as_object_mut()) {
                    members.insert("lease-break".to_owned(), serde_json::json!(broken));
                }
                terminal::give_json(&value.to_string())?;
                return Ok(ExitCode::Success);
            }
            let mut text = render::show(&record, &journal, standing, now);
            text = typed.complete(&text).into_owned();
            if let Some(broken) = broken {
                let word = super::lease::broken(&broken);
                text.push_str(&format!("\nits lease was broken\n  {}\n", line(&word)));
            }
            text
        }
    };
    terminal::give(text.trim_end())?;
    Ok(ExitCode::Success)
}

/// Those of the runs that hold their target at the moment, and whose process is
/// not known to be gone.
fn running<'a>(
    store: &dyn Store,
    runs: impl IntoIterator<Item = (&'a RunId, &'a TargetName)>,
) -> Result<Vec<RunId>, CliError> {
    let mut running = Vec::new();
    for (run, target) in runs {
        if store
            .lease_holder(target)?
            .is_some_and(|holder| holder.run == *run && !is_gone(&holder))
        {
            running.push(run.clone());
        }
    }
    Ok(running)
}

fn is_gone(holder: &Holder) -> bool {
    let holding = Holding::in_store(holder, SystemClock.now_unix_ms());
    matches!(holding.process(), Process::Gone(_))
}

/// Those that were cut off and that somebody has abandoned.
fn abandoned(store: &dyn Store, runs: &[RunSummary]) -> Result<Vec<RunId>, CliError> {
    let mut abandoned = Vec::new();
    for run in runs {
        if run.outcome == Some(Outcome::Interrupted)
            && let Some(last) = store.journal(&run.id)?.last()
            && matches!(last.entry, Entry::Abandoned { .. })
        {
            abandoned.push(run.id.clone());
        }
    }
    Ok(abandoned)
}
