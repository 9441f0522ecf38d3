//! `vdeploy abandon`: a run that was cut off is not gone on with. Changes
//! nothing on the target; the word and its reason are recorded.

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::hold::{self, Holding};
use super::session::Session;
use super::{start, terminal, unfinished};
use crate::capability::clock::{Clock as _, SystemClock};
use crate::journal::{Entry, Store as _};
use crate::run::lease::DEFAULT_TTL;
use clap::Args;

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

/// Records it.
pub fn main(global: &Global, args: &AbandonArgs) -> Result<ExitCode, CliError> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(CliError::usage("--reason is empty")
            .hint("say why, for those who come after you: --reason \"the VM is gone\""));
    }
    let session = Session::open(global)?;
    let store = session.store()?;
    let named = args.run.as_deref();
    let target = match named {
        Some(run) => store.run(run)?.target,
        None => start::target(&session.project, args.target.as_deref())?.0,
    };
    let record = unfinished::find(&*store, named, &target, "abandon")?;
    let by = hold::started_by();
    // Who holds the target is at work: its run is not cut off.
    let lease = match store.acquire_lease(&target, &record.id, &by, DEFAULT_TTL)? {
        Ok(lease) => lease,
        Err(holder) => {
            let now = SystemClock.now_unix_ms();
            let message = Holding::in_store(&holder, now).message(&target);
            return Err(CliError::new(ExitCode::Held, message));
        }
    };
    let entry = Entry::Abandoned {
        by,
        reason: reason.to_owned(),
    };
    let written = store.append(&record.id, Some(&lease), &entry);
    store.release_lease(&lease)?;
    written?;
    terminal::say(&format!(
        "run {} is abandoned: {reason}\nnothing on the target `{target}` was changed by this; what \
         the run left there is there, and a command of it that still runs is ended before the next \
         change",
        record.id
    ));
    Ok(ExitCode::Success)
}
