//! `vdeploy rollback`: bring back what was live before a run.

#[path = "select.rs"]
pub(super) mod choose;

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::run::{OutputArgs, RollbackToArg};
use super::session::Session;
use super::start::{self, Request, RollsBack};
use super::wait::WaitArgs;
use super::{fits, way_back};
use crate::event::Phase;
use crate::ids::RunId;
use crate::journal::store::Store;
use crate::journal::{Entry, StoreError};
use choose::Newest;
use clap::Args;
use std::collections::BTreeMap;

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy rollback                            undo the newest run whose change stands
  vdeploy rollback 01M856KE --to snapshot     a new VM, as it was before that run
  vdeploy rollback --dry-run                  show every change, make none";

/// Arguments of `vdeploy rollback`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RollbackArgs {
    /// The run to roll back: an id or its beginning [default: the newest run
    /// of the target whose change stands]
    pub run: Option<String>,
    /// How it is done [default: as the plan of that run says]
    #[arg(long, value_enum)]
    pub to: Option<RollbackToArg>,
    /// The target whose newest run is meant, where no run is named
    #[arg(long, short)]
    pub target: Option<String>,
    /// Set one configuration value of a step of the plan `rollback` for this
    /// run; may be given more than once
    #[arg(long, value_name = "STEP.KEY=VALUE")]
    pub set: Vec<String>,
    /// Undo a run that was undone already, and nothing has changed since
    #[arg(long, requires = "run")]
    pub again: bool,
    /// Look at the target for real, show every change, make none
    #[arg(long)]
    pub dry_run: bool,
    /// Go on without a snapshot of the state as it is now; the reason is
    /// recorded
    #[arg(long, value_name = "REASON")]
    pub without_snapshot: Option<String>,
    #[command(flatten)]
    pub wait: WaitArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs the plan `rollback` against the outputs of the run.
pub async fn main(global: &Global, args: RollbackArgs) -> Result<ExitCode, CliError> {
    let session = Session::open(global)?;
    let store = session.store()?;
    let (record, chosen) = match &args.run {
        Some(run) => (store.run(run)?, None),
        None => {
            let (target, _) = start::target(&session.project, args.target.as_deref())?;
            let newest = Newest::of(&*store, &target)?;
            choose::settled(&*store, &target, &newest)?;
            let chosen = newest.chosen(&target)?;
            (chosen.change.clone(), Some(chosen))
        }
    };
    if let Some(first) = &record.rolls_back {
        return Err(CliError::usage(format!(
            "run {} is a rollback itself, of run {first}; there is nothing to go back to from it",
            record.id
        ))
        .hint(format!(
            "to bring back what was live before run {first}: `vdeploy rollback {first}`"
        )));
    }
    if record.dry_run {
        return Err(CliError::usage(format!(
            "run {} was a dry run: it changed nothing",
            record.id
        ))
        .hint("`vdeploy runs list` shows the runs"));
    }
    fits::has_what_it_needs(&session.project, &record, false)?;
    let outputs = outputs(&*store, &record.id)?;
    let mut plan = session.plan(way_back::rollback_plan(&session.project, &record.target))?;
    let to = match args.to {
        Some(to) => to.into(),
        None => record.plan.rollback_to,
    };
    plan.rollback_to = to;
    match &chosen {
        Some(chosen) => chosen.check(to)?,
        None if args.again => {}
        None => {
            if let Some(why) = choose::already_undone(&*store, &record, to) {
                return Err(CliError::usage(why));
            }
        }
    }
    start::start(
        session,
        Request {
            plan,
            target: Some(record.target.to_string()),
            reference: None,
            set: args.set,
            dry_run: args.dry_run,
            without_snapshot: args.without_snapshot,
            rolls_back: Some(RollsBack {
                run: record,
                outputs,
                again: args.again,
            }),
            resumes: None,
            wait: args.wait,
            output: args.output,
            verbose: global.verbose,
        },
    )
    .await
}

/// What the steps of that run returned.
pub fn outputs(store: &dyn Store, run: &RunId) -> Result<start::Outputs, StoreError> {
    let mut outputs = BTreeMap::new();
    for stored in store.journal(run)? {
        if let Entry::StepFinished {
            step,
            phase: Phase::Run,
            output: Some(output),
            ..
        } = stored.entry
        {
            outputs.insert(step, output);
        }
    }
    Ok(outputs)
}
