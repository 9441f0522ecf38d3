//! `vdeploy lease`: who holds a target, and taking it away from a run that will
//! not give it back.

pub mod render;

use crate::Global;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::{options, terminal};
use clap::{Args, Subcommand};
use vdeploy_core::ids::RunId;
use vdeploy_ops::Session;
use vdeploy_ops::lease::break_lease::{BreakableLease, BrokenLease};

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy lease show                          who holds the target, and until when
  vdeploy lease break --reason \"runner 4 is gone\"
                                              its run can change nothing more
  vdeploy lease break --reason \"…\" --yes      the same without a terminal";

/// Subcommands of `vdeploy lease`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum LeaseCommand {
    /// Say who holds the target, here and on the target itself
    Show {
        /// The target [default: the only one, or `default-target` of the project]
        #[arg(long, short)]
        target: Option<String>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take the target away from the run that holds it: it can change nothing
    /// more and ends with exit code 40
    Break(BreakArgs),
}

/// Arguments of `vdeploy lease break`.
#[derive(Debug, Args)]
pub struct BreakArgs {
    /// Why; it is recorded, and the run that loses the target is told
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The target [default: the only one, or `default-target` of the project]
    #[arg(long, short)]
    pub target: Option<String>,
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long)]
    pub yes: bool,
}

/// Does it.
pub async fn main(global: &Global, command: LeaseCommand) -> Result<ExitCode, CliError> {
    let session = options::session(global)?;
    match command {
        LeaseCommand::Show { target, json } => {
            let status = session.lease_status(target.as_deref()).await?;
            render::print(&status, json);
            Ok(render::exit(&status))
        }
        LeaseCommand::Break(args) => break_lease(&session, &args).await,
    }
}

async fn break_lease(session: &Session, args: &BreakArgs) -> Result<ExitCode, CliError> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(CliError::usage("--reason is empty")
            .hint("say why the run may be interrupted; the one who started it reads it"));
    }
    if !args.yes && !terminal::can_ask() {
        return Err(CliError::usage(
            "there is no terminal to ask whether the lease is to be broken",
        )
        .hint("look with `vdeploy lease show`, then add `--yes`"));
    }
    let lease = session.breakable_lease(args.target.as_deref()).await?;
    let broken = if_agreed(&lease, args, reason).await;
    lease.close().await;
    broken
}

async fn if_agreed(
    lease: &BreakableLease,
    args: &BreakArgs,
    reason: &str,
) -> Result<ExitCode, CliError> {
    let status = &lease.status;
    if !lease.is_held() {
        render::print(status, false);
        terminal::say("nothing was broken");
        return Ok(render::exit(status));
    }
    if !args.yes {
        terminal::error_line(render::text(status).trim_end());
        if !agreed("break it? Its run can change nothing more then [y/N] ").await {
            terminal::say("nothing was broken");
            return Ok(ExitCode::Success);
        }
    }
    let broken = lease.break_for(reason).await?;
    say_broken(&broken);
    match broken.not_on_target {
        None => Ok(ExitCode::Success),
        Some(why) => Err(CliError::new(
            ExitCode::Unreachable,
            format!(
                "the lease on the target `{}` itself was not broken: {why}",
                status.target
            ),
        )
        .hint(
            "it ends by itself when its run does not renew it; when the target is back, `vdeploy \
             lease show` says whether somebody has it",
        )),
    }
}

fn say_broken(broken: &BrokenLease) {
    let say = |place: &str, asked: &Option<(RunId, bool)>| match asked {
        Some((run, true)) => {
            terminal::say(&format!("the lease of run {run} was broken {place}"));
        }
        Some((run, false)) => terminal::say(&format!(
            "run {run} has no lease {place} any more; nothing was broken there"
        )),
        None => {}
    };
    say("in the store", &broken.in_store);
    say("on the target", &broken.on_target);
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
