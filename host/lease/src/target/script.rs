//! The conversation with `target.sh` on the target: one command, one
//! answer. Knows nothing of time and of what an answer means for the run.

use crate::holder::LeaseHolder;
use std::time::Duration;
use vdeploy_core::actor::Actor;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::ssh::{Command, NoLiveOutput, Ssh};
use vdeploy_core::ids::RunId;

const SCRIPT: &str = include_str!("../target.sh");

/// Bytes kept of an answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of a holder's name that are sent and shown.
const MAX_WHO: usize = 200;

/// Why the target said nothing about its lease.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetLeaseError {
    /// The target cannot be reached, or the command did not end.
    #[error("{0}")]
    Unreached(EffectError),
    /// The target cannot keep a lease.
    #[error(
        "the target cannot keep its lease in ~/.vdeploy-lease: {0}; the user must be able to \
         write in its home directory there"
    )]
    Failed(String),
}

/// What the script is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    /// Take it; the token is to be larger than this one. Asked twice for one
    /// claim, it has one answer; for a claim that is over, it takes nothing.
    Take {
        run: &'a RunId,
        least: u64,
        who: &'a Actor,
        claim: &'a ClaimId,
    },
    Renew {
        run: &'a RunId,
        token: u64,
    },
    /// Give back what the claim has; from then on it is over.
    Release {
        run: &'a RunId,
        claim: &'a ClaimId,
    },
    /// Nothing of these runs goes on any more.
    Settle {
        run: &'a RunId,
        token: u64,
        left: &'a [RunId],
    },
    /// Take it away from the run; `by` says who and why. Not when `claim`, that
    /// of who asks, is over.
    Break {
        run: &'a RunId,
        by: &'a str,
        claim: Option<&'a ClaimId>,
    },
    Look,
}

/// One process's wish for the lease. A run that is resumed makes a new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClaimId(String);

impl ClaimId {
    pub(super) fn generate() -> Self {
        Self(ulid::Ulid::generate().to_string())
    }
}

/// What the script says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Taken {
        token: u64,
        /// The run that has begun a change there last.
        changed: Option<RunId>,
        /// Runs that have lost it; what they began may still go on.
        left: Vec<RunId>,
    },
    Renewed,
    Released,
    Settled,
    Free,
    Held(LeaseHolder),
    /// Ours no longer; none when nobody has it.
    Lost(Option<LeaseHolder>),
    /// Ours no longer: somebody broke it, and says who and why.
    Fenced(String),
    Broken,
}

/// Asks, within `limit`; a dropped call may have been answered.
pub(super) async fn ask(
    ssh: &dyn Ssh,
    ask: Ask<'_>,
    ttl: Duration,
    limit: Duration,
) -> Result<Answer, TargetLeaseError> {
    let command = command(ask, ttl, limit);
    let output = ssh
        .run(&command, &NoLiveOutput)
        .await
        .map_err(TargetLeaseError::Unreached)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.exit_code == Some(0)
        && let Some(answer) = parse(&text)
    {
        return Ok(answer);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().chain(text.lines()).find(|l| !l.is_empty());
    Err(TargetLeaseError::Failed(printable(
        line.unwrap_or("the shell said nothing"),
    )))
}

fn command(ask: Ask<'_>, ttl: Duration, limit: Duration) -> Command {
    // The target counts in whole seconds.
    let ttl = ttl.as_secs().max(1).to_string();
    let own = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let words = match ask {
        Ask::Take {
            run,
            least,
            who,
            claim,
        } => own(&[
            "take",
            &ttl,
            run.as_str(),
            &least.to_string(),
            &sent(who),
            &claim.0,
        ]),
        Ask::Renew { run, token } => own(&["renew", &ttl, run.as_str(), &token.to_string()]),
        Ask::Release { run, claim } => own(&["release", &ttl, run.as_str(), &claim.0]),
        Ask::Settle { run, token, left } => {
            let mut words = own(&["settle", &ttl, run.as_str(), &token.to_string()]);
            words.extend(left.iter().map(|run| run.to_string()));
            words
        }
        Ask::Break { run, by, claim } => {
            let mut words = own(&["break", &ttl, run.as_str(), &printable(by)]);
            words.extend(claim.map(|claim| claim.0.clone()));
            words
        }
        Ask::Look => own(&["look", &ttl]),
    };
    let mut command = Command::new("sh");
    command.args = own(&["-s", "--"]);
    command.args.extend(words);
    command.stdin = SCRIPT.as_bytes().to_vec();
    command.timeout = limit;
    command.max_output = MAX_ANSWER;
    command
}

fn parse(text: &str) -> Option<Answer> {
    let mut lines = text.lines();
    let words: Vec<&str> = lines.next()?.split(' ').collect();
    let holder = |run: &str, since: &str, left: &str, who: Option<&str>| {
        Some(LeaseHolder {
            run: run_id(run)?,
            who: heard(who.unwrap_or_default()),
            since: since
                .parse()
                .ok()
                .filter(|since| *since > 0)
                .and_then(|since| jiff::Timestamp::from_second(since).ok()),
            ends_in: Duration::from_secs(left.parse().ok()?),
        })
    };
    match words.as_slice() {
        ["taken", token, rest @ ..] => {
            let changed = rest.first().and_then(|word| word.strip_prefix("changed:"));
            let left = rest.iter().skip(usize::from(changed.is_some()));
            Some(Answer::Taken {
                token: token.parse().ok()?,
                changed: match changed {
                    Some(run) => Some(run_id(run)?),
                    None => None,
                },
                left: left.map(|run| run_id(run)).collect::<Option<_>>()?,
            })
        }
        ["renewed"] => Some(Answer::Renewed),
        ["released"] => Some(Answer::Released),
        ["settled"] => Some(Answer::Settled),
        ["broken"] => Some(Answer::Broken),
        ["fenced"] => Some(Answer::Fenced(printable(lines.next().unwrap_or_default()))),
        ["free"] => Some(Answer::Free),
        ["held", run, since, left] => Some(Answer::Held(holder(run, since, left, lines.next())?)),
        ["lost", "-", ..] => Some(Answer::Lost(None)),
        ["lost", run, since, left] => {
            Some(Answer::Lost(Some(holder(run, since, left, lines.next())?)))
        }
        _ => None,
    }
}

/// The id of a run. It is part of commands that vdeploy recommends, so
/// nothing else that a target says passes for one.
fn run_id(text: &str) -> Option<RunId> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (text.len() <= 64 && text.chars().all(plain) && !text.starts_with('-'))
        .then(|| RunId::new(text))
}

fn sent(who: &Actor) -> String {
    let name = printable(&who.name);
    let process = who.process.clone();
    Actor { name, process }.to_line()
}

/// Anybody who can write there may have made the line.
fn heard(line: &str) -> Actor {
    let Actor { name, process } = Actor::from_line(line);
    let name = printable(&name);
    Actor { name, process }
}

/// One line without control characters, not too long.
fn printable(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(MAX_WHO).collect()
}
