//! Ctrl-C and friends. The first INT or TERM asks the run to stop: the call in
//! flight ends, no new step begins, what was changed is rolled back or kept by
//! policy. The second leaves at once. HUP is ignored: a closed terminal must
//! not cut a deploy in half.

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::invocation::GlobalFlags;
use crate::terminal;
use std::sync::mpsc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use vdeploy_core::ids::RunId;
use vdeploy_ops::Cancel;

/// So long a terminal may take for the last line.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Watches until dropped.
#[derive(Debug)]
pub struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says it without waiting: a terminal that stands still (Ctrl-S) must not keep
/// the next signal from being heard.
fn say(text: String, for_programs: bool) -> mpsc::Receiver<()> {
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        terminal::error_line(&text);
        if for_programs {
            terminal::json_error(&CliError::new(ExitCode::Interrupted, text));
        }
        // Nobody has to wait for it.
        let _ = told.send(());
    });
    heard
}

/// Ends the process. The lease is not given back: a command may still run on
/// the target, so it has to run out.
fn leave(text: String, for_programs: bool) -> ! {
    let _ = say(text, for_programs).recv_timeout(LAST_WORDS);
    std::process::exit(ExitCode::Interrupted.code().into());
}

fn last_words(run: &RunId) -> String {
    format!(
        "left at once; the target may be half changed, and a command of run {run} may still run \
         there: `vdeploy runs show {run}` says how far it is, `vdeploy resume {run}` resumes \
         it, `vdeploy rollback {run}` goes back, `vdeploy abandon {run} --reason \"REASON\"` \
         leaves the target as it is"
    )
}

/// Starts watching for this run. `for_programs`: the last line on standard
/// output is an event, too, when the run is left at once.
pub fn watch(
    run: RunId,
    cancel: Cancel,
    flags: GlobalFlags,
    for_programs: bool,
) -> std::io::Result<Watch> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let task = tokio::spawn(async move {
        let mut asked = false;
        loop {
            let by = tokio::select! {
                _ = interrupt.recv() => "SIGINT (Ctrl-C)",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => continue,
            };
            if asked {
                let text = last_words(&run);
                leave(flags.complete(&text).into_owned(), for_programs);
            }
            asked = true;
            cancel.stop(by);
            let text = "stopping after the current call; once more to leave at once";
            say(text.to_owned(), false);
        }
    });
    Ok(Watch(task.abort_handle()))
}
