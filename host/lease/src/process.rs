//! What this process calls itself, and what can be seen of the process of a
//! lease holder.

use vdeploy_core::actor::{Actor, ProcessId};
use vdeploy_files::users::Users;

/// This process: user@machine and pid, and the CI job if there is one.
/// `variable` reads the environment.
pub fn this_process(variable: impl Fn(&str) -> Option<String>) -> Actor {
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
    let (machine, pid) = (machine(), std::process::id());
    Actor {
        name: format!("{user}@{machine} pid {pid}{job}"),
        process: i32::try_from(pid).ok().map(|pid| ProcessId {
            machine,
            pid,
            space: pid_space(),
        }),
    }
}

/// This start of this machine, and its container.
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

/// The process of `actor`, as it is now.
pub fn look_up(actor: &Actor) -> Process {
    let here = actor.process.as_ref().filter(|process| is_here(process));
    let Some(pid) = here.map(|process| process.pid).filter(|pid| *pid > 0) else {
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

/// Whether its pid means this machine's. Without a space there is only the name
/// of the machine to go by.
fn is_here(process: &ProcessId) -> bool {
    let is_space = process.space.is_none() || process.space == pid_space();
    process.machine == machine() && is_space
}

/// Processes for tests.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used)]
pub mod doubles {
    use super::*;

    /// What a process of this machine with this pid calls itself.
    pub fn with_pid(pid: u32) -> Actor {
        let own = this_process(|_| None);
        let is = format!("pid {}", std::process::id());
        Actor {
            name: own.name.replace(&is, &format!("pid {pid}")),
            process: own.process.map(|process| ProcessId {
                pid: pid.try_into().unwrap(),
                ..process
            }),
        }
    }

    /// The same of another machine.
    pub fn elsewhere(pid: u32) -> Actor {
        let machine = "another-machine".to_owned();
        let here = with_pid(pid);
        Actor {
            name: format!("me@{machine} pid {pid}"),
            process: here.process.map(|process| ProcessId { machine, ..process }),
        }
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
    use super::doubles::{dead_pid, elsewhere, with_pid};
    use super::*;

    #[test]
    fn a_pid_of_another_container_says_nothing_here() {
        let own = this_process(|_| None);
        let pid = std::process::id();
        assert!(own.name.ends_with(&format!(" pid {pid}")), "{own}");
        assert!(matches!(look_up(&own), Process::Runs(_)));
        let gone = |space: Option<String>| {
            let dead = with_pid(dead_pid());
            let process = dead.process.map(|process| ProcessId { space, ..process });
            look_up(&Actor { process, ..dead })
        };
        for here in [None, pid_space()] {
            let process = gone(here.clone());
            assert!(matches!(process, Process::Gone(_)), "{here:?} {process:?}");
        }
        assert_eq!(gone(Some("0-1".to_owned())), Process::Elsewhere);
        assert_eq!(look_up(&elsewhere(dead_pid())), Process::Elsewhere);
        assert_eq!(look_up(&Actor::named("me@box pid 7")), Process::Elsewhere);
    }

    #[test]
    fn the_job_of_a_ci_is_part_of_the_name() {
        let job = |name: &str| (name == "GITHUB_RUN_ID").then(|| "5".to_owned());
        let name = this_process(job).name;
        let pid = std::process::id();
        assert!(
            name.ends_with(&format!(" pid {pid} github run 5")),
            "{name}"
        );
    }
}
