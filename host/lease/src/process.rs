//! Who asks for a lease or starts a run, and what can be seen of the process of
//! another one.

use vdeploy_files::users::Users;

/// Recorded with runs and leases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// user@machine and pid, and the CI job, for a person.
    pub started_by: String,
    /// The same with where the pid means something, for [`process`].
    pub held_by: String,
}

impl Actor {
    /// This process: user@machine and pid, and the CI job if there is one.
    /// `variable` reads the environment.
    pub fn of_process(variable: impl Fn(&str) -> Option<String>) -> Self {
        // A service or a container often has neither variable.
        let user = variable("USER").or_else(|| variable("LOGNAME"));
        let user = user.unwrap_or_else(|| {
            let uid = rustix::process::geteuid().as_raw();
            let users = Users::of_machine();
            let name = users.name_of(uid).map(str::to_owned);
            name.unwrap_or_else(|| format!("uid{uid}"))
        });
        let github = variable("GITHUB_RUN_ID");
        let job = github
            .map(|id| format!(" github run {id}"))
            .or_else(|| variable("CI_JOB_URL").map(|url| format!(" {url}")))
            .unwrap_or_default();
        let who = format!("{user}@{} pid {}", machine(), std::process::id());
        let space = pid_space().map(|space| format!("{IN}{space}"));
        Self {
            started_by: format!("{who}{job}"),
            held_by: format!("{who}{}{job}", space.unwrap_or_default()),
        }
    }

    /// Somebody whose process cannot be looked for on this machine: a lease of
    /// theirs is waited for until it expires.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            started_by: name.clone(),
            held_by: name,
        }
    }
}

/// The holder for a person: without where its pid is one.
pub(crate) fn shown(who: &str) -> String {
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

/// The process that `held_by` named.
pub(crate) fn process(who: &str) -> Process {
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

/// Processes for tests.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used)]
pub mod doubles {
    use super::*;

    /// What a process of this machine with this pid calls itself.
    pub fn with_pid(pid: u32) -> String {
        let own = Actor::of_process(|_| None).held_by;
        let is = format!("pid {}", std::process::id());
        own.replace(&is, &format!("pid {pid}"))
    }

    /// A pid that was a process of ours and is none any more.
    pub fn dead_pid() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }
}

#[cfg(test)]
mod tests {
    use super::doubles::dead_pid;
    use super::*;

    #[test]
    fn a_pid_of_another_container_says_nothing_here() {
        let who =
            |within: &str| format!("me@{} pid {}{within} github run 5", machine(), dead_pid());
        let space = pid_space().map(|space| format!("{IN}{space}"));
        let space = space.unwrap_or_default();
        let own = Actor::of_process(|_| None);
        assert!(
            own.held_by
                .contains(&format!(" pid {}{space}", std::process::id()))
        );
        for here in ["", &space] {
            let process = process(&who(here));
            assert!(matches!(process, Process::Gone(_)), "{here} {process:?}");
        }
        assert_eq!(process(&who(" in 0-1")), Process::Elsewhere);
        let there = "me@box pid 7 in 0-1 github run 5";
        assert_eq!(shown(there), "me@box pid 7 github run 5");
        for plain in ["me@box pid 7", "me in a box", ""] {
            assert_eq!(shown(plain), plain);
        }
        assert_eq!(shown(&own.held_by), own.started_by);
    }
}
