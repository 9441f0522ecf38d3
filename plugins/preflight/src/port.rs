//! Who has the port, and who would start the service: what is wrong and what
//! is odd about them. Pure.

use serde::Deserialize;
use vdeploy_service::facts::{Facts, UnitHere};
use vdeploy_service::listener::{Listener, Port};

use crate::judge::Limits;
use crate::verdict::Verdict;

const PORT: &str = "port";
const UNITS: &str = "systemd units";

/// What to do about a process on the port that is not the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreign {
    Refuse,
    /// The restart ends it.
    End,
}

impl Verdict {
    /// What a unit starts logs to the journal.
    pub fn judge_log(&mut self, facts: &Facts, port: &Port) {
        let kept = match port {
            Port::Owned(service) => service.unit.is_some(),
            Port::Free | Port::Hidden { .. } => keeper(facts, None).is_some(),
        };
        let Some(refused) = &facts.log_refused else {
            return;
        };
        if !kept {
            self.wrong(
                "log",
                format!("the log would not be opened: {refused}"),
                "remove it, or set `log` to another path",
            );
        }
    }

    pub fn judge_port(&mut self, facts: &Facts, port: &Port, limits: Limits) {
        let number = facts.port;
        match port {
            Port::Free => self.good(PORT, format!("nobody listens on {number}")),
            Port::Hidden { uid } => self.wrong(
                PORT,
                format!("port {number} belongs to a process of user id {uid} that the login user may not look at"),
                "log in as that user, or stop it",
            ),
            Port::Owned(listener) => self.judge_listener(facts, listener, limits.foreign),
        }
    }

    /// The right process runs in the checkout; node in another directory is
    /// the service with another data directory; anything else is foreign.
    fn judge_listener(&mut self, facts: &Facts, listener: &Listener, foreign: Foreign) {
        let Some(app_dir) = &facts.app_dir else {
            return;
        };
        let number = facts.port;
        let who = listener.describe_fully();
        if listener.pid == 1 {
            self.wrong(
                PORT,
                format!("port {number} is held by the system's first process, pid 1: a systemd socket unit listens there for its service"),
                "vdeploy restarts no service behind a socket unit; disable the socket or set `port`",
            );
            return;
        }
        if !is_foreign(app_dir, listener) {
            match &listener.user_unit {
                Some(unit) => self.wrong(
                    PORT,
                    format!(
                        "the service is kept by {unit}, a unit of the own systemd of user {}, which would start it again whenever it is stopped",
                        listener.user
                    ),
                    format!("make it a system unit, or disable it with `systemctl --user disable --now {unit}` as that user"),
                ),
                None => self.good(PORT, format!("{number} belongs to the service, {who}")),
            }
            return;
        }
        if listener.cwd.is_empty() {
            self.wrong(
                PORT,
                format!(
                    "port {number} belongs to {who}, whose directory the login user may not see"
                ),
                "log in as that user",
            );
            return;
        }
        let (what, fix) = match is_node(listener) {
            true => (
                format!(
                    "the service on port {number} works in {}, not in `app-dir` {app_dir}, so its data is there: {who}",
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
            Foreign::Refuse => self.wrong(
                PORT,
                what,
                format!("{fix} (`--set preflight.foreign-process=end` lets this run end it)"),
            ),
            Foreign::End => self.odd(
                PORT,
                what,
                "`foreign-process = \"end\"` is set: the restart will end it, and no rollback brings it back",
            ),
        }
    }

    /// Two starters of one service fight for its port.
    pub fn judge_units(&mut self, facts: &Facts, port: &Port) {
        let here: Vec<String> = facts.units.iter().map(UnitHere::describe).collect();
        let bare = match port {
            Port::Owned(listener) if listener.unit.is_none() => listener,
            Port::Owned(_) | Port::Hidden { .. } => return,
            Port::Free if here.len() > 1 => {
                return self.wrong(
                    UNITS,
                    format!(
                        "nobody listens on port {}, and several systemd units work in the checkout, so it is not clear which one keeps the service: {}",
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
                "the service is a bare process, {}, but {} works in the checkout too",
                bare.describe(),
                unit.describe()
            );
            let name = &unit.name;
            if unit.flaps() {
                self.wrong(
                    UNITS,
                    format!("{what} and tries to start again and again"),
                    format!("stop one of the two: `systemctl disable --now {name}`, or end the process and start the unit"),
                );
            } else if matches!(unit.enabled.as_str(), "enabled" | "enabled-runtime") {
                self.odd(
                    UNITS,
                    format!("{what} and starts at the next boot"),
                    format!("keep one: `systemctl disable {name}`, or end the process and start the unit"),
                );
            }
        }
    }
}

/// Whether the process on the port is not the service of the checkout.
pub fn is_foreign(app_dir: &str, listener: &Listener) -> bool {
    listener.cwd != app_dir
}

/// The unit that keeps the service where nobody listens.
pub fn keeper(facts: &Facts, service: Option<&Listener>) -> Option<String> {
    match (service, facts.units.as_slice()) {
        (None, [unit]) => Some(unit.name.clone()),
        _ => None,
    }
}

pub fn is_node(listener: &Listener) -> bool {
    let program = listener.exe.rsplit('/').next().unwrap_or_default();
    program == "node" || program == "nodejs"
}
