//! Who listens on a port of the target: process, program, directory, manager.
//!
//! This module must not judge whether that is the right process.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{Cx, Error};

use crate::facts::pairs;

const LISTENER: &str = concat!(
    include_str!("sockets.sh"),
    "\n",
    include_str!("listener.sh")
);
const TIMEOUT: Duration = Duration::from_secs(60);

/// A process that listens on a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Listener {
    pub pid: u32,
    /// Clock ticks from boot to the start of the process (field 22 of
    /// `/proc/PID/stat`). With the pid it names the process for ever.
    pub start_ticks: u64,
    pub ppid: u32,
    pub uid: u32,
    /// Name of that user; empty when it has none.
    pub user: String,
    /// When it was started, for a person: `2026-02-13 09:41:07 UTC`.
    pub since: String,
    /// Absolute working directory; empty when it may not be read.
    pub cwd: String,
    /// Absolute path of the program; empty when it may not be read.
    pub exe: String,
    pub argv: Vec<String>,
    /// The systemd service that manages it, for example
    /// `agent-services.service`; none for a bare process.
    pub unit: Option<String>,
    /// The service of a user's own systemd that manages it.
    pub user_unit: Option<String>,
}

impl Listener {
    /// Whether both are the same process, not only the same pid.
    pub fn is_same_process(&self, other: &Listener) -> bool {
        self.pid == other.pid && self.start_ticks == other.start_ticks
    }

    /// For a person: `pid 4711 (node dist/server.js)`.
    pub fn describe(&self) -> String {
        format!("pid {} ({})", self.pid, self.argv.join(" "))
    }

    /// All that tells a person whose process it is: `pid 7 (nc -l 3000),
    /// program /bin/nc, in /root, user root (0), since …, kept by x.service`.
    pub fn describe_fully(&self) -> String {
        let known = |text: &str| match text {
            "" => "unknown".to_owned(),
            text => text.to_owned(),
        };
        let keeper = match (&self.unit, &self.user_unit) {
            (Some(unit), _) => format!(", kept by the systemd unit {unit}"),
            (None, Some(unit)) => format!(", kept by the user's systemd unit {unit}"),
            (None, None) => String::new(),
        };
        format!(
            "{}, program {}, directory {}, user {} ({}), since {}{keeper}",
            self.describe(),
            known(&self.exe),
            known(&self.cwd),
            known(&self.user),
            self.uid,
            known(&self.since),
        )
    }
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    Free,
    Owned(Listener),
    /// Somebody listens whom the login user may not look at.
    Hidden {
        /// User id of the socket's owner.
        uid: String,
    },
}

/// Looks who listens on `port`. A probe. Of several processes that share the
/// socket it is the one the others come from.
///
/// # Errors
/// Those of ssh, and `command.failed` when the target has no working shell.
pub fn find<C>(cx: &Cx<C>, port: u16) -> Result<Port, Error> {
    let output = cx
        .script("listener", LISTENER)
        .arg(port.to_string())
        .timeout(TIMEOUT)
        .probe()?
        .into_success("look who listens")?;
    Ok(parse(&output.stdout_text()))
}

fn parse(text: &str) -> Port {
    let mut found: Vec<Listener> = Vec::new();
    let mut hidden = None;
    for (key, value) in pairs(text) {
        match key {
            "hidden" => hidden = Some(value.to_owned()),
            "pid" => found.push(Listener {
                pid: value.parse().unwrap_or(0),
                ..Listener::default()
            }),
            _ => {
                if let Some(listener) = found.last_mut() {
                    set(listener, key, value);
                }
            }
        }
    }
    let first = found
        .iter()
        .position(|one| !found.iter().any(|other| other.pid == one.ppid))
        .unwrap_or(0);
    match (found.into_iter().nth(first), hidden) {
        (Some(listener), _) => Port::Owned(listener),
        (None, Some(uid)) => Port::Hidden { uid },
        (None, None) => Port::Free,
    }
}

fn set(listener: &mut Listener, key: &str, value: &str) {
    match key {
        "start" => listener.start_ticks = value.parse().unwrap_or(0),
        "ppid" => listener.ppid = value.parse().unwrap_or(0),
        "uid" => listener.uid = value.parse().unwrap_or(0),
        "user" => value.clone_into(&mut listener.user),
        "since" => value.clone_into(&mut listener.since),
        // The kernel marks a directory or program that was removed since.
        "cwd" => listener.cwd = value.trim_end_matches(" (deleted)").to_owned(),
        "exe" => listener.exe = value.trim_end_matches(" (deleted)").to_owned(),
        "unit" => listener.unit = Some(value.to_owned()),
        "user-unit" => listener.user_unit = Some(value.to_owned()),
        "arg" => listener.argv.push(value.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_stands_for_its_workers() {
        let text = "pid=12\nstart=5\nppid=10\narg=worker\npid=10\nstart=4\nppid=1\nunit=a.service\narg=node\narg=x=y\n";
        let Port::Owned(listener) = parse(text) else {
            panic!("nobody found")
        };
        assert_eq!((listener.pid, listener.start_ticks), (10, 4));
        assert_eq!(listener.argv, ["node", "x=y"]);
        assert_eq!(listener.unit.as_deref(), Some("a.service"));
    }

    #[test]
    fn nobody_and_somebody_hidden_are_told_apart() {
        assert_eq!(parse(""), Port::Free);
        let hidden = Port::Hidden { uid: "0".into() };
        assert_eq!(parse("hidden=0\n"), hidden);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let old = Listener {
            pid: 7,
            start_ticks: 100,
            ..Listener::default()
        };
        let new = Listener {
            start_ticks: 200,
            ..old.clone()
        };
        assert!(old.is_same_process(&old));
        assert!(!old.is_same_process(&new));
    }
}
