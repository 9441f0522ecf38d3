//! The process that listens on a port of the target: program, directory,
//! systemd unit.
//!
//! This module must not judge whether it is the right process.

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
    /// `/proc/PID/stat`). Pid and start are unique until the next boot.
    pub start_ticks: u64,
    pub ppid: u32,
    pub uid: u32,
    /// Empty when the user has no name.
    pub user: String,
    /// Start time for a person: `2026-02-13 09:41:07 UTC`.
    pub since: String,
    /// Absolute working directory; empty when it cannot be read.
    pub cwd: String,
    /// Absolute path of the program; empty when it cannot be read.
    pub exe: String,
    pub argv: Vec<String>,
    /// The systemd service that runs it, for example `agent-services.service`;
    /// none without a unit.
    pub unit: Option<String>,
    /// The service of a systemd user instance that runs it.
    pub user_unit: Option<String>,
}

impl Listener {
    /// Whether both are one process, not only one pid.
    pub fn is_same_process(&self, other: &Listener) -> bool {
        self.pid == other.pid && self.start_ticks == other.start_ticks
    }

    /// For a person: `pid 4711 (node dist/server.js)`.
    pub fn describe(&self) -> String {
        format!("pid {} ({})", self.pid, self.argv.join(" "))
    }

    /// Enough for a person to identify it: `pid 7 (nc -l 3000), program /bin/nc,
    /// directory /root, user root (0), since …, run by the systemd unit
    /// x.service`.
    pub fn describe_fully(&self) -> String {
        let known = |text: &str| match text {
            "" => "unknown".to_owned(),
            text => text.to_owned(),
        };
        let unit = match (&self.unit, &self.user_unit) {
            (Some(unit), _) => format!(", run by the systemd unit {unit}"),
            (None, Some(unit)) => format!(", run by the systemd user unit {unit}"),
            (None, None) => String::new(),
        };
        format!(
            "{}, program {}, directory {}, user {} ({}), since {}{unit}",
            self.describe(),
            known(&self.exe),
            known(&self.cwd),
            known(&self.user),
            self.uid,
            known(&self.since),
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    Free,
    Owned(Listener),
    /// The login user cannot inspect the process.
    Hidden {
        /// User id of the owner of the socket.
        uid: String,
    },
}

/// Finds the process that listens on `port`. A probe. Of several processes that
/// share the socket, it is their common ancestor.
///
/// # Errors
/// Those of ssh, and `command.failed` when the target has no working shell.
pub fn find<C>(cx: &Cx<C>, port: u16) -> Result<Port, Error> {
    let output = cx
        .script("listener", LISTENER)
        .arg(port.to_string())
        .timeout(TIMEOUT)
        .probe()?
        .into_success("find the listening process")?;
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
        // The kernel marks a removed directory or program.
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
    fn the_parent_represents_its_workers() {
        let text = "pid=12\nstart=5\nppid=10\narg=worker\npid=10\nstart=4\nppid=1\nunit=a.service\narg=node\narg=x=y\n";
        let Port::Owned(listener) = parse(text) else {
            panic!("nobody found")
        };
        assert_eq!((listener.pid, listener.start_ticks), (10, 4));
        assert_eq!(listener.argv, ["node", "x=y"]);
        assert_eq!(listener.unit.as_deref(), Some("a.service"));
    }

    #[test]
    fn a_free_port_differs_from_a_hidden_process() {
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
