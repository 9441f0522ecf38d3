//! `vdeploy rollback`: bring back what was live before a run.

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::hold::Holding;
use super::run::{OutputArgs, RollbackToArg};
use super::session::Session;
use super::start::{self, Request};
use super::wait::WaitArgs;
use super::way_back;
use crate::capability::clock::{Clock as _, SystemClock};
use crate::event::Phase;
use crate::ids::RunId;
use crate::journal::store::{RunRecord, Store};
use crate::journal::{Entry, StoreError, prune};
use clap::Args;
use std::collections::BTreeMap;

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy rollback                            undo the newest run that changed the target
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
    let record = match &args.run {
        Some(run) => store.run(run)?,
        None => {
            let record = newest_change(&*store, &session, args.target.as_deref())?;
            settled(&*store, &record)?;
            record
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
    let outputs = outputs(&*store, &record.id)?;
    let mut plan = session.plan(way_back::rollback_plan(&session.project, &record.target))?;
    let to = match args.to {
        Some(to) => to.into(),
        None => record.plan.rollback_to,
    };
    plan.rollback_to = to;
    start::start(
        session,
        Request {
            plan,
            target: Some(record.target.to_string()),
            reference: None,
            set: args.set,
            dry_run: args.dry_run,
            without_snapshot: args.without_snapshot,
            rolls_back: Some((record.id, outputs)),
            resumes: None,
            wait: args.wait,
            output: args.output,
            verbose: global.verbose,
        },
    )
    .await
}

/// Refuses while a run is at work: which change is the newest is not known
/// before it has ended.
fn settled(store: &dyn Store, newest: &RunRecord) -> Result<(), CliError> {
    let Some(holder) = store.lease_holder(&newest.target)? else {
        return Ok(());
    };
    let now = SystemClock.now_unix_ms();
    let held = Holding::in_store(&holder, now).message(&newest.target);
    Err(CliError::new(ExitCode::Held, held).hint(format!(
        "which change is the newest one is not known yet; to wait for it, name the run that is to \
         be rolled back, for example `vdeploy rollback {} --wait 600`",
        holder.run
    )))
}

/// The newest run of the target that changed it and whose change stands: not a
/// rollback itself, and not rolled back at its end.
fn newest_change(
    store: &dyn Store,
    session: &Session,
    target: Option<&str>,
) -> Result<RunRecord, CliError> {
    let (target, _) = start::target(&session.project, target)?;
    for summary in store.runs(Some(&target), 200)? {
        if !prune::stands(summary.outcome) {
            continue;
        }
        let record = store.run(summary.id.as_str())?;
        if record.rolls_back.is_some() || record.dry_run {
            continue;
        }
        let changed = store.journal(&record.id)?.iter().any(|stored| {
            matches!(
                &stored.entry,
                Entry::Intent {
                    changes_target: true,
                    ..
                }
            )
        });
        if changed {
            return Ok(record);
        }
    }
    Err(
        CliError::usage(format!("no run has changed the target `{target}` yet"))
            .hint("`vdeploy runs list` shows the runs; name one: `vdeploy rollback RUN`"),
    )
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
