//! The holder of a target, as the store or the target names it, and what a
//! person is told about it.

use crate::process::{self, Process};
use crate::reclaim::DeadRun;
use std::time::Duration;
use vdeploy_core::actor::Actor;
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_journal::store::Holder;

/// Who holds a target, wherever that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseHolder {
    /// It may be one that the store here does not know.
    pub run: RunId,
    /// Without a name where that was not kept.
    pub who: Actor,
    /// When it took the lease, by the clock of where that is kept.
    pub since: Option<jiff::Timestamp>,
    /// When it ends if it is not renewed.
    pub ends_in: Duration,
}

impl LeaseHolder {
    /// As the store says; `now` is in milliseconds since 1970.
    pub fn in_store(holder: &Holder, now: u64) -> Self {
        let since = i64::try_from(holder.since).ok();
        Self {
            run: holder.run.clone(),
            who: holder.who.clone(),
            since: since.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()),
            ends_in: Duration::from_millis(holder.expires.saturating_sub(now)),
        }
    }

    /// Who and since when, without a full stop.
    pub fn sentence(&self, target: &TargetName) -> String {
        format!("the target `{target}` is held by {}", self.holder())
    }

    fn holder(&self) -> String {
        let mut text = format!("run {}", self.run);
        if !self.who.name.is_empty() {
            text.push_str(&format!(" ({})", self.who));
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
        process::look_up(&self.who)
    }

    /// Whether that process is known to be gone: nobody is there to renew.
    pub fn is_gone(&self) -> bool {
        matches!(self.process(), Process::Gone(_))
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

    /// The same with what to do; `dead` says how far the run came, where its
    /// process is gone and the store knows it.
    pub fn message(&self, target: &TargetName, dead: Option<&DeadRun>) -> String {
        let secs = self.seconds_left();
        let next = match self.process() {
            Process::Gone(pid) => {
                let gone = format!(
                    "That run seems to be dead: there is no process {pid} on this machine any more"
                );
                match dead {
                    Some(DeadRun::Settle { text, .. }) => format!(
                        "{gone}. Nothing new is begun before what it did is settled, and that need \
                         not wait for its lease. {text}"
                    ),
                    Some(DeadRun::Early(resume)) => format!(
                        "{gone}, and it had begun no change. Its lease ends in {secs} s; start \
                         again then, or resume it now: `{resume}`"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::doubles::{dead_pid, elsewhere, with_pid};

    fn holder(who: Actor) -> Holder {
        Holder {
            run: "01A".into(),
            who,
            since: 1_000,
            expires: 9_500,
        }
    }

    #[test]
    fn store_and_target_say_it_in_the_same_words() {
        let in_store = holder("me@elsewhere pid 7".into());
        let on_target = LeaseHolder {
            run: "01A".into(),
            who: "me@elsewhere pid 7".into(),
            since: jiff::Timestamp::from_second(1).ok(),
            ends_in: Duration::from_secs(7),
        };
        let text = LeaseHolder::in_store(&in_store, 3_000).message(&"infra".into(), None);
        assert_eq!(
            text,
            "the target `infra` is held by run 01A (me@elsewhere pid 7), since \
             1970-01-01T00:00:01Z. Wait for it to end, or start with `--wait SECONDS`: `vdeploy \
             runs show 01A`, where it was started, says how far it is. Its lease ends in 7 s \
             unless the run renews it"
        );
        assert_eq!(on_target.message(&"infra".into(), None), text);
    }

    #[test]
    fn a_dead_run_of_this_machine_is_told_from_a_living_one() {
        let living = holder(with_pid(std::process::id()));
        let text = LeaseHolder::in_store(&living, 3_000).message(&"infra".into(), None);
        assert!(text.contains("Wait for it to end"), "{text}");
        let pid = dead_pid();
        let dead = holder(with_pid(pid));
        let text = LeaseHolder::in_store(&dead, 3_000).message(&"infra".into(), None);
        assert!(text.contains(&format!("no process {pid} on")), "{text}");
        assert!(text.contains("ends in 7 s; start again then"), "{text}");
        let elsewhere = holder(elsewhere(pid));
        let text = LeaseHolder::in_store(&elsewhere, 3_000).message(&"infra".into(), None);
        assert!(text.contains("Wait for it to end"), "{text}");
    }
}
