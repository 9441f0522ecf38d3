//! `vdeploy abandon`: a run that was cut off is not gone on with. The word and
//! its reason are recorded, the run's lease on the target is given back, and a
//! command of it that still runs there is ended. It undoes nothing.

mod on_target;

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::hold::{self, Holding};
use super::session::Session;
use super::{dead, start, terminal, unfinished};
use crate::capability::clock::{Clock as _, SystemClock};
use crate::journal::store::RunRecord;
use crate::journal::{Entry, Store};
use crate::run::lease::{DEFAULT_TTL, LeaseKeeper};
use clap::Args;
use std::sync::Arc;

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy abandon --reason \"looked at it, the old version runs\"
  vdeploy abandon 01M856KE --reason \"the VM is gone\"";

/// Arguments of `vdeploy abandon`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AbandonArgs {
    /// The run: an id or its beginning [default: the target's run that was cut
    /// off]
    pub run: Option<String>,
    /// Why; it is recorded with the run
    #[arg(long, value_name = "REASON")]
    pub reason: String,
    /// The target, where no run is named
    #[arg(long, short)]
    pub target: Option<String>,
}

/// Records it, and settles what the run left on the target.
pub async fn main(global: &Global, args: &AbandonArgs) -> Result<ExitCode, CliError> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(CliError::usage("--reason is empty")
            .hint("say why, for those who come after you: --reason \"the VM is gone\""));
    }
    let session = Session::open(global)?;
    let store: Arc<dyn Store> = session.store()?;
    let named = args.run.as_deref();
    let target = match named {
        Some(run) => store.run(run)?.target,
        None => start::target(&session.project, args.target.as_deref())?.0,
    };
    let record = unfinished::find(&*store, named, &target, "abandon")?;
    let by = hold::started_by();
    let lease = lease(&store, &record, &by).await?;
    let entry = Entry::Abandoned {
        by: by.clone(),
        reason: reason.to_owned(),
    };
    let written = store.append(&record.id, Some(lease.granted()), &entry);
    let left = match &written {
        Ok(_) => on_target::settle(&session, &store, &record, &by, reason).await,
        Err(_) => String::new(),
    };
    lease.release().await?;
    written?;
    terminal::say(&format!("run {} is abandoned: {reason}\n{left}", record.id));
    Ok(ExitCode::Success)
}

/// Who holds the target is at work: its run is not cut off.
async fn lease(
    store: &Arc<dyn Store>,
    record: &RunRecord,
    by: &str,
) -> Result<LeaseKeeper, CliError> {
    let (run, target) = (&record.id, &record.target);
    loop {
        let asked = LeaseKeeper::acquire(
            store.clone(),
            target.clone(),
            run.clone(),
            hold::held_by(),
            DEFAULT_TTL,
        );
        let holder = match asked.await? {
            Ok(lease) => return Ok(lease),
            Err(holder) => holder,
        };
        let word = (by, "its process is gone, and the run is abandoned");
        if !dead::break_in_store(&**store, target, &holder, run, word)? {
            let now = SystemClock.now_unix_ms();
            let message = Holding::in_store(&holder, now).message(target, Some(&**store));
            return Err(CliError::new(ExitCode::Held, message));
        }
    }
}
