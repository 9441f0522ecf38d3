//! Rules of preflight about the process on the port and the systemd units that
//! start the service. Pure.

use serde::Deserialize;
use vdeploy_service::facts::{Facts, UnitHere};
use vdeploy_service::listener::{Listener, Port};

use crate::findings::Findings;
use crate::judge::Policy;

const PORT: &str = "port";
const UNITS: &str = "systemd units";

/// How to treat a process on the port that is not the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreign {
    Refuse,
    /// The step `restart` terminates it.
    End,
}

impl Findings {
    /// A service that a unit starts logs to the journal, so its log file does
    /// not matter.
    pub fn judge_log(&mut self, facts: &Facts, port: &Port) {
        let kept = match port {
            Port::Owned(service) => service.unit.is_some(),
            Port::Free | Port::Hidden { .. } => unit_without_listener(facts, None).is_some(),
        };
        let Some(refused) = &facts.log_refused else {
            return;
        };
        if !kept {
            self.fail(
                "log",
                format!("the log cannot be opened: {refused}"),
                "remove it, or set `log` to another path",
            );
        }
    }

    pub fn judge_port(&mut self, facts: &Facts, port: &Port, policy: Policy) {
        let number = facts.port;
        match port {
            Port::Free => self.pass(PORT, format!("nobody listens on {number}")),
            Port::Hidden { uid } => self.fail(
                PORT,
                format!("port {number} belongs to a process of user id {uid} that the login user cannot inspect"),
                "log in as that user, or stop it",
            ),
            Port::Owned(listener) => self.judge_listener(facts, listener, policy.foreign),
        }
    }

    /// The service runs in the checkout. Node in another directory is the
    /// service with another data directory; anything else is foreign.
    fn judge_listener(&mut self, facts: &Facts, listener: &Listener, foreign: Foreign) {
        let Some(app_dir) = &facts.app_dir else {
            return;
        };
        let number = facts.port;
        let who = listener.describe_fully();
        if listener.pid == 1 {
            self.fail(
                PORT,
                format!("pid 1 holds port {number}: a systemd socket unit listens there for its service"),
                "vdeploy cannot restart a service behind a socket unit; disable the socket or set `port`",
            );
            return;
        }
        if !is_foreign(app_dir, listener) {
            match &listener.user_unit {
                Some(unit) => self.fail(
                    PORT,
                    format!(
                        "{unit}, a unit of the systemd instance of user {}, runs the service and would start it again after each stop",
                        listener.user
                    ),
                    format!("make it a system unit, or disable it with `systemctl --user disable --now {unit}` as that user"),
                ),
                None => self.pass(PORT, format!("{number} belongs to the service, {who}")),
            }
            return;
        }
        if listener.cwd.is_empty() {
            self.fail(
                PORT,
                format!(
                    "port {number} belongs to {who}, whose directory the login user cannot see"
                ),
                "log in as that user",
            );
            return;
        }
        let (what, fix) = match is_node(listener) {
            true => (
                format!(
                    "the service on port {number} runs in {}, not in `app-dir` {app_dir}, so its data is there: {who}",
                    listener.cwd
                ),
                "set `app-dir` to the right directory, stop it, or set `port`",
            ),
            false => (
                format!("port {number} belongs to another program: {who}"),
                "stop it or set `port`",
            ),
        };
        match foreign {
            Foreign::Refuse => self.fail(
                PORT,
                what,
                format!("{fix} (`--set preflight.foreign-process=end` lets this run terminate it)"),
            ),
            Foreign::End => self.warn(
                PORT,
                what,
                "`foreign-process = \"end\"` is set: the step `restart` terminates it, and no rollback brings it back",
            ),
        }
    }

    /// Two units that start one service compete for its port.
    pub fn judge_units(&mut self, facts: &Facts, port: &Port) {
        let here: Vec<String> = facts.units.iter().map(UnitHere::describe).collect();
        let bare = match port {
            Port::Owned(listener) if listener.unit.is_none() => listener,
            Port::Owned(_) | Port::Hidden { .. } => return,
            Port::Free if here.len() > 1 => {
                return self.fail(
                    UNITS,
                    format!(
                        "nobody listens on port {}, and several systemd units use the checkout, so the one that runs the service is not known: {}",
                        facts.port,
                        here.join(", ")
                    ),
                    "start the right one, or disable the others",
                );
            }
            Port::Free => return,
        };
        for unit in &facts.units {
            let what = format!(
                "the service runs without a unit, {}, but {} also uses the checkout",
                bare.describe(),
                unit.describe()
            );
            let name = &unit.name;
            if unit.restarts_in_a_loop() {
                self.fail(
                    UNITS,
                    format!("{what} and restarts in a loop"),
                    format!("stop one of the two: `systemctl disable --now {name}`, or terminate the process and start the unit"),
                );
            } else if matches!(unit.enabled.as_str(), "enabled" | "enabled-runtime") {
                self.warn(
                    UNITS,
                    format!("{what} and starts at the next boot"),
                    format!("keep one: `systemctl disable {name}`, or terminate the process and start the unit"),
                );
            }
        }
    }
}

pub fn is_foreign(app_dir: &str, listener: &Listener) -> bool {
    listener.cwd != app_dir
}

/// The unit that runs the service when nobody listens.
pub fn unit_without_listener(facts: &Facts, service: Option<&Listener>) -> Option<String> {
    match (service, facts.units.as_slice()) {
        (None, [unit]) => Some(unit.name.clone()),
        _ => None,
    }
}

pub fn is_node(listener: &Listener) -> bool {
    let program = listener.exe.rsplit('/').next().unwrap_or_default();
    program == "node" || program == "nodejs"
}
