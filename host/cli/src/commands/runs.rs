//! `vdeploy runs`: look at earlier runs, and remove them.

use crate::Global;
use crate::commands::export::{self, ExportArgs};
use crate::commands::prune::{self, PruneArgs};
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::invocation::GlobalFlags;
use crate::{options, terminal};
use clap::Subcommand;
use serde_json::Value;
use vdeploy_core::capability::clock::{Clock as _, SystemClock};
use vdeploy_core::clean::line;
use vdeploy_core::ids::TargetName;
use vdeploy_ops::history;
use vdeploy_report::runs as render;

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
    let store = vdeploy_ops::session::open_store(&options::session_options(global)?)?;
    let store = &*store;
    let now = SystemClock.now_unix_ms();
    let flags = GlobalFlags::of(global);
    let text = match command {
        RunsCommand::List {
            target,
            limit,
            json,
        } => {
            let target = target.map(TargetName::new);
            let list = history::runs(store, target.as_ref(), limit)?;
            let context = render::Context {
                running: &list.running,
                abandoned: &list.abandoned,
                undone: Some(&list.undone),
            };
            if json {
                let value = render::list_json(&list.runs, context);
                terminal::give_json(&value.to_string())?;
                return Ok(ExitCode::Success);
            }
            render::list(&list.runs, target.as_ref(), context, now)
        }
        RunsCommand::Export(args) => return export::main(store, &args),
        RunsCommand::Prune(args) => return prune::main(store, &args, now, &flags),
        RunsCommand::Show { run, json } => {
            let details = history::run(store, &run)?;
            let (record, journal) = (&details.record, &details.journal);
            let running = details.is_running.then(|| record.id.clone());
            let context = render::Context {
                running: running.as_slice(),
                undone: Some(&details.undone),
                ..render::Context::default()
            };
            let broken = details.lease_break.as_ref();
            if json {
                let mut value = render::show_json(record, journal, context);
                if let Some(next) = value.get_mut("next").and_then(Value::as_array_mut) {
                    for command in next {
                        *command = flags.complete(command.as_str().unwrap_or_default()).into();
                    }
                }
                if let (Some(broken), Some(members)) = (broken, value.as_object_mut()) {
                    members.insert("lease-break".to_owned(), serde_json::json!(broken));
                }
                terminal::give_json(&value.to_string())?;
                return Ok(ExitCode::Success);
            }
            let mut text = render::show(record, journal, context, now);
            text = flags.complete(&text).into_owned();
            if let Some(broken) = broken {
                let word = crate::commands::lease::render::sentence(broken);
                text.push_str(&format!("\nits lease was broken\n  {}\n", line(&word)));
            }
            text
        }
    };
    terminal::give(text.trim_end())?;
    Ok(ExitCode::Success)
}
