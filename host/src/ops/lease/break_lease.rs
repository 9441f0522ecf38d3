//! `vdeploy lease break`: asks, then breaks the lease in the store and on the
//! target itself, and records it.

use super::look::{self, Looked, There};
use super::{BreakArgs, show};
use crate::capability::World;
use crate::cli::error::CliError;
use crate::cli::exit::ExitCode;
use crate::cli::session::Session;
use crate::cli::{hold, terminal};
use crate::ids::RunId;
use crate::journal::Store;
use crate::journal::breaks::{self, LeaseBreak};
use crate::journal::store::Holder;
use crate::run::lease::DEFAULT_TTL;
use crate::run::target_lease::{self, TargetHolder};
use std::sync::Arc;

pub(super) async fn main(session: &Session, args: &BreakArgs) -> Result<ExitCode, CliError> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(CliError::usage("--reason is empty")
            .hint("say why the run may be cut off; the one who started it reads it"));
    }
    if !args.yes && !terminal::can_ask() {
        return Err(CliError::usage(
            "there is no terminal to ask whether the lease is to be broken",
        )
        .hint("look with `vdeploy lease show`, then add `--yes`"));
    }
    let store: Arc<dyn Store> = session.store()?;
    let (looked, world) = look::both(session, args.target.as_deref(), store.clone()).await?;
    let broken = unless_refused(args, reason, &looked, world.as_ref(), &*store).await;
    if let Some(world) = world {
        world.ssh.close().await;
    }
    broken
}

async fn unless_refused(
    args: &BreakArgs,
    reason: &str,
    looked: &Looked,
    world: Option<&World>,
    store: &dyn Store,
) -> Result<ExitCode, CliError> {
    let target = &looked.target;
    let holder_there = match &looked.there {
        There::Held(holder) => Some(holder),
        _ => None,
    };
    if looked.stored.is_none() && holder_there.is_none() {
        show::print(looked, false);
        terminal::say("nothing was broken");
        return Ok(looked.exit());
    }
    if !args.yes {
        terminal::error_line(show::text(looked).trim_end());
        if !agreed("break it? Its run can change nothing more then [y/N] ").await {
            terminal::say("nothing was broken");
            return Ok(ExitCode::Success);
        }
    }
    let by = hold::started_by();
    // The store first: it stops the run at its next journal write, at once.
    if let Some(holder) = &looked.stored {
        say_broken(
            "in the store",
            &holder.run,
            store
                .break_lease(target, &holder.run, &by, reason)?
                .is_some(),
        );
    }
    let why = match (world, holder_there) {
        (Some(world), Some(holder)) => {
            let word = format!("{by} ({reason})");
            let asked =
                target_lease::break_held(&*world.ssh, &holder.run, &word, DEFAULT_TTL).await;
            match asked {
                Ok(done) => {
                    say_broken("on the target", &holder.run, done.is_ok());
                    record_there(store, looked, holder, &by, reason)?;
                    None
                }
                Err(error) => Some(error.to_string()),
            }
        }
        _ => match &looked.there {
            There::Unknown(why) => Some(why.clone()),
            _ => None,
        },
    };
    match why {
        None => Ok(ExitCode::Success),
        Some(why) => Err(CliError::new(
            ExitCode::Unreachable,
            format!("the lease on the target `{target}` itself was not broken: {why}"),
        )
        .hint(
            "it ends by itself when its run does not renew it; when the target is back, `vdeploy \
             lease show` says whether somebody has it",
        )),
    }
}

/// A lease that only the target knew of is recorded here, too.
fn record_there(
    store: &dyn Store,
    looked: &Looked,
    holder: &TargetHolder,
    by: &str,
    reason: &str,
) -> Result<(), CliError> {
    let same = |stored: &Holder| stored.run == holder.run;
    if looked.stored.as_ref().is_some_and(same) {
        return Ok(());
    }
    let broken = LeaseBreak {
        run: holder.run.clone(),
        who: holder.who.clone(),
        by: by.to_owned(),
        reason: reason.to_owned(),
        at: looked.now,
        token: 0,
    };
    Ok(breaks::remember(store, &looked.target, &broken)?)
}

fn say_broken(place: &str, run: &RunId, done: bool) {
    terminal::say(&match done {
        true => format!("the lease of run {run} was broken {place}"),
        false => format!("run {run} has no lease {place} any more; nothing was broken there"),
    });
}

/// The answer of the person at the terminal.
async fn agreed(question: &str) -> bool {
    terminal::ask(question);
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = read.await.ok().and_then(Result::ok).unwrap_or_default();
    matches!(answer.trim(), "y" | "Y" | "yes")
}
