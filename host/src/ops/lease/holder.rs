//! Holding the target for a run: the lease on the target itself, what a loss
//! does, and what is said of another holder, wherever its lease is kept.

use super::left;
use super::unfinished::{self, Dead};
use super::wait::Wait;
use crate::capability::held::Keeps;
use crate::event::{Level, Outcome, RunEvent};
use crate::gate::RunShared;
use crate::ids::{RunId, TargetName};
use crate::journal::Store;
use crate::journal::store::Holder;
use crate::ownership::users::Users;
use crate::run::lease::LeaseLost;
use crate::run::target_lease::{self, Claim, TargetHolder, TargetLease, TargetLeaseError};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// Watches for a loss until dropped.
#[derive(Debug)]
pub struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A lost lease closes the gate of the run.
pub fn break_off_when(
    lost: impl Future<Output = LeaseLost> + Send + 'static,
    shared: Arc<RunShared>,
) -> Watch {
    let task = tokio::spawn(async move {
        shared.lease_lost(&lost.await.loss());
    });
    Watch(task.abort_handle())
}

/// The lease on the target itself, renewed and watched.
#[derive(Debug)]
pub struct OnTarget {
    lease: TargetLease,
    watch: Watch,
}

impl OnTarget {
    fn new(lease: TargetLease, shared: &Arc<RunShared>) -> Self {
        let watch = break_off_when(lease.lost(), shared.clone());
        Self { lease, watch }
    }

    /// From now on a change is sent only while it is held. A lease that was
    /// relied on is not done without any more: the gate would take its end for
    /// a loss.
    fn relied_on(self, shared: &RunShared) -> Self {
        let leases = &shared.world.leases;
        leases.rely_on(Keeps::Target, self.lease.held());
        self
    }

    /// The run that had begun a change on the target last when it was taken.
    pub fn changed_by(&self) -> Option<RunId> {
        self.lease.changed_by()
    }

    /// Gives it back.
    pub async fn end(self) {
        drop(self.watch);
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "the lease on the target could not be given back; it ends by \
                                    itself");
        }
    }
}

/// Takes the lease on the target; else how the run ends, and why. `takes_over`
/// says of another run, whose process is gone, why its lease may be broken.
pub async fn take(
    claim: &Claim,
    shared: &Arc<RunShared>,
    wait: &mut Wait,
    takes_over: &(dyn Fn(&RunId) -> Option<&'static str> + Sync),
) -> Result<OnTarget, (Outcome, String)> {
    loop {
        match TargetLease::take(claim.clone()).await {
            Ok(Ok(lease)) => {
                let lease = OnTarget::new(lease, shared);
                let doing = |text| shared.emit(RunEvent::Doing { text });
                return match left::end(&lease.lease, &*claim.ssh, doing).await {
                    Ok(_) => Ok(lease.relied_on(shared)),
                    Err(why) => {
                        lease.end().await;
                        Err((Outcome::Unreachable, why))
                    }
                };
            }
            Ok(Err(holder)) => {
                if broken(claim, &holder, takes_over).await {
                    continue;
                }
                let name = claim.target.facts().name;
                wait.after(&Holding::on_target(&holder), &name, shared)
                    .await?;
            }
            Err(error @ TargetLeaseError::Unreached(_)) => {
                return Err((Outcome::Unreachable, error.to_string()));
            }
            Err(error @ TargetLeaseError::Failed(_)) => {
                return Err((Outcome::Refused, error.to_string()));
            }
        }
    }
}

/// Breaks the lease on the target that nobody is there to renew, of a run that
/// this one takes over from.
async fn broken(
    claim: &Claim,
    holder: &TargetHolder,
    takes_over: &(dyn Fn(&RunId) -> Option<&'static str> + Sync),
) -> bool {
    let is_gone = matches!(Holding::on_target(holder).process(), Process::Gone(_));
    let Some(why) = takes_over(&holder.run).filter(|_| is_gone) else {
        return false;
    };
    let word = format!("{} ({why})", claim.who);
    let asked = target_lease::break_held(&*claim.ssh, &holder.run, &word, claim.ttl);
    matches!(asked.await, Ok(Ok(())))
}

/// Takes it as soon as the target is another VM.
pub fn after_a_move(claim: Claim, shared: &Arc<RunShared>) -> OnTarget {
    OnTarget::new(TargetLease::after_a_move(claim), shared).relied_on(shared)
}

/// Takes nothing, and warns when somebody else is at work.
pub async fn look(claim: &Claim, shared: &RunShared) {
    let message = match target_lease::holder(&*claim.ssh, claim.ttl).await {
        Ok(None) => return,
        Ok(Some(holder)) => format!(
            "{}. A dry run only looks and goes on; what it sees may change",
            Holding::on_target(&holder).sentence(&claim.target.facts().name)
        ),
        Err(error) => format!("whether another run holds the target is not known: {error}"),
    };
    shared.emit(RunEvent::Log {
        step: None,
        level: Level::Warn,
        message: shared.masker.mask(&message).into_owned(),
    });
}

/// Who holds a target, wherever that is kept.
#[derive(Debug)]
pub struct Holding<'a> {
    /// The run.
    pub run: &'a RunId,
    /// user@machine pid, or the CI job; empty where it is not known.
    pub who: &'a str,
    /// Since when.
    pub since: Option<jiff::Timestamp>,
    /// When it ends if it is not renewed.
    pub ends_in: Duration,
}

impl<'a> Holding<'a> {
    /// As the store says; `now` is in milliseconds since 1970.
    pub fn in_store(holder: &'a Holder, now: u64) -> Self {
        let since = i64::try_from(holder.since).ok();
        Self {
            run: &holder.run,
            who: &holder.who,
            since: since.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()),
            ends_in: Duration::from_millis(holder.expires.saturating_sub(now)),
        }
    }

    /// As the target says.
    pub fn on_target(holder: &'a TargetHolder) -> Self {
        let since = holder.since.and_then(|since| i64::try_from(since).ok());
        Self {
            run: &holder.run,
            who: &holder.who,
            since: since.and_then(|s| jiff::Timestamp::from_second(s).ok()),
            ends_in: holder.ends_in,
        }
    }

    /// Who and since when, without a full stop.
    pub fn sentence(&self, target: &TargetName) -> String {
        format!("the target `{target}` is held by {}", self.holder())
    }

    fn holder(&self) -> String {
        let mut text = format!("run {}", self.run);
        if !self.who.is_empty() {
            text.push_str(&format!(" ({})", shown(self.who)));
        }
        if let Some(since) = self.since {
            text.push_str(&format!(", since {since}"));
        }
        text
    }

    fn seconds_left(&self) -> u128 {
        self.ends_in.as_millis().div_ceil(1000).max(1)
    }

    /// Whether the process that holds it still runs.
    pub fn process(&self) -> Process {
        process(self.who)
    }

    /// Everything that is known of it, in one line.
    pub fn line(&self) -> String {
        let process = match self.process() {
            Process::Runs(pid) => format!("its process {pid} runs on this machine"),
            Process::Stopped(pid) => {
                format!("its process {pid} on this machine is stopped (SIGSTOP)")
            }
            Process::Gone(pid) => format!("it seems to be dead: no process {pid} on this machine"),
            Process::Elsewhere => {
                "whether its process still runs cannot be seen from here".to_owned()
            }
        };
        format!(
            "{}, for {} s more unless it is renewed; {process}",
            self.holder(),
            self.seconds_left()
        )
    }

    /// The same with what to do; `store` says how far the run came, where it
    /// knows it.
    pub fn message(&self, target: &TargetName, store: Option<&dyn Store>) -> String {
        let secs = self.seconds_left();
        let next = match self.process() {
            Process::Gone(pid) => {
                let gone = format!(
                    "That run seems to be dead: there is no process {pid} on this machine any more"
                );
                match store.and_then(|store| unfinished::of_the_dead(store, self.run)) {
                    Some(Dead::Settle { text, .. }) => format!(
                        "{gone}. Nothing new is begun before what it did is settled, and that need \
                         not wait for its lease. {text}"
                    ),
                    Some(Dead::Early(resume)) => format!(
                        "{gone}, and it had begun no change. Its lease ends in {secs} s; start \
                         again then, or go on with it now: `{resume}`"
                    ),
                    None => format!("{gone}. Its lease ends in {secs} s; start again then"),
                }
            }
            Process::Stopped(pid) => format!(
                "Its process {pid} on this machine is stopped: `kill -CONT {pid}` lets it go on, \
                 `vdeploy lease break --target {target} --reason \"REASON\"` cuts it off. Its \
                 lease ends in {secs} s unless the run renews it"
            ),
            Process::Runs(_) | Process::Elsewhere => format!(
                "Wait for it to end, or start with `--wait SECONDS`: `vdeploy runs show {}`, where \
                 it was started, says how far it is. Its lease ends in {secs} s unless the run \
                 renews it",
                self.run
            ),
        };
        format!("{}. {next}", self.sentence(target))
    }
}

/// Who starts a run: user@machine and pid, or the CI job.
pub fn started_by() -> String {
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    // A service or a container often has neither variable.
    let user = env("USER").or_else(|| env("LOGNAME")).unwrap_or_else(|| {
        let uid = rustix::process::geteuid().as_raw();
        let users = Users::of_machine();
        let name = users.name_of(uid).map(str::to_owned);
        name.unwrap_or_else(|| format!("uid{uid}"))
    });
    let job = env("GITHUB_RUN_ID")
        .map(|id| format!(" github run {id}"))
        .or_else(|| env("CI_JOB_URL").map(|url| format!(" {url}")))
        .unwrap_or_default();
    format!("{user}@{} pid {}{job}", machine(), std::process::id())
}

/// The same for a lease, with where the pid is one.
pub fn held_by() -> String {
    let pid = format!(" pid {}", std::process::id());
    let space = pid_space().map(|space| format!("{IN}{space}"));
    let within = format!("{pid}{}", space.unwrap_or_default());
    started_by().replacen(&pid, &within, 1)
}

/// The holder for a person: without where its pid is one.
fn shown(who: &str) -> String {
    let split = who
        .split_once(" pid ")
        .and_then(|(place, rest)| Some((place, rest.split_once(IN)?)))
        .filter(|(_, (pid, _))| pid.parse::<u32>().is_ok());
    match split {
        Some((place, (pid, rest))) => {
            let job = rest.split_once(' ').map(|(_, job)| format!(" {job}"));
            format!("{place} pid {pid}{}", job.unwrap_or_default())
        }
        None => who.to_owned(),
    }
}

/// Before where a pid is one.
const IN: &str = " in ";

/// Where a pid of this process means something: this start of this machine, and
/// its container. Two containers may have one name.
fn pid_space() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let number: String = space
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let boot = boot.trim().split('-').next()?;
    Some(format!("{boot}-{number}"))
}

fn machine() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// What can be seen of a holder's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Process {
    /// It is there.
    Runs(i32),
    /// It is there and does nothing until it is continued.
    Stopped(i32),
    /// No process of this machine has its number.
    Gone(i32),
    /// It is on another machine, or not known.
    Elsewhere,
}

/// The process that `started_by` named.
fn process(who: &str) -> Process {
    let Some(pid) = pid_here(who) else {
        return Process::Elsewhere;
    };
    let Some(process) = rustix::process::Pid::from_raw(pid) else {
        return Process::Elsewhere;
    };
    if rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH) {
        return Process::Gone(pid);
    }
    // The name before it may have any character.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    match state {
        Some(Some('T')) => Process::Stopped(pid),
        // Nobody has waited for it yet; it does nothing any more.
        Some(Some('Z' | 'X')) => Process::Gone(pid),
        _ => Process::Runs(pid),
    }
}

/// The pid, if it is one of this machine.
fn pid_here(who: &str) -> Option<i32> {
    let (place, rest) = who.split_once(" pid ")?;
    let (_, on) = place.rsplit_once('@')?;
    let (pid, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
    let pid: i32 = pid.parse().ok()?;
    // Who does not say it is of an older version, or on a system that has none.
    let said = rest.strip_prefix(IN).map(|rest| rest.split(' ').next());
    let is_here = said.is_none_or(|said| said == pid_space().as_deref());
    (on == machine() && is_here).then_some(pid)
}

#[cfg(test)]
mod take_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(who: String) -> Holder {
        Holder {
            run: "01A".into(),
            who,
            since: 1_000,
            expires: 9_500,
        }
    }

    /// A pid that was a process of ours and is none any more.
    fn dead_pid() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn store_and_target_say_it_in_the_same_words() {
        let in_store = holder("me@elsewhere pid 7".to_owned());
        let on_target = TargetHolder {
            run: "01A".into(),
            who: "me@elsewhere pid 7".to_owned(),
            since: Some(1),
            ends_in: Duration::from_secs(7),
        };
        let text = Holding::in_store(&in_store, 3_000).message(&"infra".into(), None);
        assert_eq!(
            text,
            "the target `infra` is held by run 01A (me@elsewhere pid 7), since \
             1970-01-01T00:00:01Z. Wait for it to end, or start with `--wait SECONDS`: `vdeploy \
             runs show 01A`, where it was started, says how far it is. Its lease ends in 7 s \
             unless the run renews it"
        );
        assert_eq!(
            Holding::on_target(&on_target).message(&"infra".into(), None),
            text
        );
    }

    #[test]
    fn a_pid_of_another_container_says_nothing_here() {
        let who =
            |within: &str| format!("me@{} pid {}{within} github run 5", machine(), dead_pid());
        let own = pid_space().map(|space| format!("{IN}{space}"));
        let own = own.unwrap_or_default();
        assert!(held_by().contains(&format!(" pid {}{own}", std::process::id())));
        for here in ["", &own] {
            let process = process(&who(here));
            assert!(matches!(process, Process::Gone(_)), "{here} {process:?}");
        }
        assert_eq!(process(&who(" in 0-1")), Process::Elsewhere);
        let there = "me@box pid 7 in 0-1 github run 5";
        assert_eq!(shown(there), "me@box pid 7 github run 5");
        for plain in ["me@box pid 7", "me in a box", ""] {
            assert_eq!(shown(plain), plain);
        }
        assert_eq!(shown(&held_by()), started_by());
    }

    #[test]
    fn a_dead_run_of_this_machine_is_told_from_a_living_one() {
        let living = holder(held_by());
        let text = Holding::in_store(&living, 3_000).message(&"infra".into(), None);
        assert!(text.contains("Wait for it to end"), "{text}");
        let pid = dead_pid();
        let dead = holder(format!("me@{} pid {pid} github run 5", machine()));
        let text = Holding::in_store(&dead, 3_000).message(&"infra".into(), None);
        assert!(text.contains(&format!("no process {pid} on")), "{text}");
        assert!(text.contains("ends in 7 s; start again then"), "{text}");
        let elsewhere = holder(format!("me@x{} pid {pid}", machine()));
        let text = Holding::in_store(&elsewhere, 3_000).message(&"infra".into(), None);
        assert!(text.contains("Wait for it to end"), "{text}");
    }
}
