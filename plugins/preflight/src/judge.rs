//! What is wrong and what is odd about a target. Pure: facts in, words out.

use serde::Deserialize;
use vdeploy_plugin::Error;
use vdeploy_service::baseline::{Baseline, Listener};
use vdeploy_service::data::Counted;
use vdeploy_service::facts::{Checkout, DataDir, Facts, Place, UnitHere};
use vdeploy_service::listener::Port;
use vdeploy_service::node::other_major;

/// What to do about changes that were made on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HotFixes {
    Warn,
    Refuse,
}

/// What to do about a process on the port that is not the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreign {
    Refuse,
    /// The restart ends it.
    End,
}

/// What the configuration allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub min_free_mb: u64,
    pub hot_fixes: HotFixes,
    pub foreign: Foreign,
}

/// All that is wrong, so that a person mends it in one go.
#[derive(Debug, Default)]
pub struct Verdict {
    pub refusals: Vec<String>,
    pub warnings: Vec<String>,
}

impl Verdict {
    /// # Errors
    /// `preflight.refused` with every refusal.
    pub fn refuse(&self) -> Result<(), Error> {
        match self.refusals.as_slice() {
            [] => Ok(()),
            [one] => Err(Error::failed("preflight.refused", one.clone())),
            many => Err(Error::failed(
                "preflight.refused",
                format!("{} things are wrong:\n- {}", many.len(), many.join("\n- ")),
            )),
        }
    }

    fn wrong(&mut self, message: impl Into<String>) {
        self.refusals.push(message.into());
    }

    fn odd(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    pub fn judge_facts(&mut self, facts: &Facts, place: &Place, limits: Limits) {
        for (tool, version) in [
            ("git", &facts.git),
            ("node", &facts.node),
            ("npm", &facts.npm),
        ] {
            if version.is_none() {
                self.wrong(format!(
                    "the target has no `{tool}` in the PATH of its login shell; install it, or set the PATH in /etc/environment"
                ));
            }
        }
        let Some(app_dir) = &facts.app_dir else {
            self.wrong(format!(
                "the target has no directory `{}`; clone the service there or set `app-dir`",
                place.app_dir
            ));
            return;
        };
        if !facts.app_writable {
            self.wrong(format!("the login user may not write in {app_dir}"));
        }
        if let Some(free) = facts.free_kb.map(|kb| kb / 1024)
            && free < limits.min_free_mb
        {
            self.wrong(format!(
                "{free} MiB are free on the disk of {app_dir}, {} are needed; make room or set `min-free-mb`",
                limits.min_free_mb
            ));
        }
        match facts.data {
            DataDir::Readonly => self.wrong(format!(
                "{app_dir}/data cannot be written: the service would crash at its start; chown it to the login user"
            )),
            DataDir::NoDirectory => self.wrong(format!("{app_dir}/data is not a directory")),
            DataDir::Absent | DataDir::Writable | DataDir::Unknown => {}
        }
        if facts.node_env == "production" {
            self.odd(
                "NODE_ENV=production in the login environment leaves out the compiler; the build sets NODE_ENV=development for itself",
            );
        }
        if let (Some(built), Some(node)) = (&facts.built, &facts.node)
            && other_major(&built.node, node)
        {
            self.odd(format!(
                "node was {} when the live modules were installed and is {node} now; what they have of native code does not load any more. A build installs them anew; a restart without a build would not start",
                built.node
            ));
        }
        if facts.git.is_some() {
            self.judge_checkout(&facts.checkout, app_dir, limits.hot_fixes);
        }
    }

    fn judge_checkout(&mut self, checkout: &Checkout, app_dir: &str, hot_fixes: HotFixes) {
        if let Some(why) = &checkout.error {
            self.wrong(format!("{app_dir} is no git checkout: {why}"));
            return;
        }
        if checkout.top != app_dir {
            self.wrong(format!(
                "{app_dir} is inside the checkout {}; set `app-dir` to the checkout's top directory",
                checkout.top
            ));
        }
        if !checkout.remotes.iter().any(|remote| remote == "origin") {
            self.wrong(format!("the checkout {app_dir} has no remote `origin`"));
        }
        let mut local = Vec::new();
        let changed = tracked(&checkout.hot_fixes);
        if !changed.is_empty() {
            let shown: Vec<&str> = changed.iter().take(10).copied().collect();
            let more = match changed.len().saturating_sub(shown.len()) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            local.push(format!(
                "files changed on the target: {}{more}",
                shown.join(", ")
            ));
        }
        if checkout.unpushed > 0 {
            local.push(format!(
                "{} commits that were never pushed",
                checkout.unpushed
            ));
        }
        for what in local {
            match hot_fixes {
                HotFixes::Warn => self.odd(format!(
                    "{what}; they will not be live after this run (git-pull keeps them)"
                )),
                HotFixes::Refuse => self.wrong(format!(
                    "{what}; push or remove them, or set `hot-fixes = \"warn\"`"
                )),
            }
        }
    }

    pub fn judge_port(&mut self, facts: &Facts, port: &Port, limits: Limits) {
        let number = facts.port;
        match port {
            Port::Free => {}
            Port::Hidden { uid } => self.wrong(format!(
                "port {number} belongs to a process of user id {uid} that the login user may not look at; log in as that user, or stop it"
            )),
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
            self.wrong(format!(
                "port {number} is held by the system's first process, pid 1: a systemd socket unit listens there for its service. vdeploy restarts no service behind a socket unit; disable the socket or set `port`"
            ));
            return;
        }
        if !is_foreign(app_dir, listener) {
            if let Some(unit) = &listener.user_unit {
                self.wrong(format!(
                    "the service is kept by {unit}, a unit of the own systemd of user {}, which would start it again whenever it is stopped; make it a system unit, or disable it with `systemctl --user disable --now {unit}` as that user",
                    listener.user
                ));
            }
            return;
        }
        if listener.cwd.is_empty() {
            self.wrong(format!(
                "port {number} belongs to {who}, whose directory the login user may not see; log in as that user"
            ));
            return;
        }
        let what = match is_node(listener) {
            true => format!(
                "the service on port {number} works in {}, not in `app-dir` {app_dir}, so its data is there: {who}",
                listener.cwd
            ),
            false => format!("port {number} belongs to another program: {who}"),
        };
        match foreign {
            Foreign::Refuse => self.wrong(format!(
                "{what}. {} or set `port`; `--set preflight.foreign-process=end` lets this run end it",
                match is_node(listener) {
                    true => "Set `app-dir` to the right directory, stop it,",
                    false => "Stop it",
                }
            )),
            Foreign::End => self.odd(format!(
                "{what}. `foreign-process = \"end\"` is set: the restart will end it, and no rollback brings it back"
            )),
        }
    }

    /// Two starters of one service fight for its port.
    pub fn judge_units(&mut self, facts: &Facts, port: &Port) {
        let here: Vec<String> = facts.units.iter().map(UnitHere::describe).collect();
        let bare = match port {
            Port::Owned(listener) if listener.unit.is_none() => listener,
            Port::Owned(_) | Port::Hidden { .. } => return,
            Port::Free if here.len() > 1 => {
                return self.wrong(format!(
                    "nobody listens on port {}, and several systemd units work in the checkout, so it is not clear which one keeps the service: {}; start the right one, or disable the others",
                    facts.port,
                    here.join(", ")
                ));
            }
            Port::Free => return,
        };
        for unit in &facts.units {
            let what = format!(
                "the service is a bare process, {}, but {} works in the checkout too",
                bare.describe(),
                unit.describe()
            );
            if unit.flaps() {
                self.wrong(format!(
                    "{what} and tries to start again and again; stop one of the two: `systemctl disable --now {}`, or end the process and start the unit",
                    unit.name
                ));
            } else if matches!(unit.enabled.as_str(), "enabled" | "enabled-runtime") {
                self.odd(format!(
                    "{what} and starts at the next boot; keep one: `systemctl disable {}`, or end the process and start the unit",
                    unit.name
                ));
            }
        }
    }

    pub fn judge_answers(&mut self, counted: &Counted, new_token: bool) {
        if counted.open {
            self.odd(
                "THE RUNNING SERVICE IS OPEN: it answers without a token. Everybody who reaches it may read and write; this run starts it with the token",
            );
        }
        if counted.token_refused && !counted.open {
            let what = "the running service refuses the secret `auth-token`: it has another token";
            if new_token {
                self.odd(format!(
                    "{what}; every agent needs the new one after this run"
                ));
            } else {
                self.wrong(format!(
                    "{what}; after this run no agent could reach it. Give the right token, or set `new-token = true`"
                ));
            }
            return;
        }
        for problem in &counted.problems {
            self.odd(format!("could not count the data of {problem}"));
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

/// Without the untracked files: git leaves them where they are, and no build
/// sees them. The service's own `.auth-token` is one.
fn tracked(status: &[String]) -> Vec<&str> {
    let lines = status.iter().map(String::as_str);
    lines.filter(|line| !line.starts_with("??")).collect()
}

pub fn is_node(listener: &Listener) -> bool {
    let program = listener.exe.rsplit('/').next().unwrap_or_default();
    program == "node" || program == "nodejs"
}

/// Whether the wanted commit is checked out, built and running, as far as the
/// markers and the process prove it.
pub fn unchanged(baseline: &Baseline) -> bool {
    let (Some(built), Some(running), Some(service)) =
        (&baseline.built, &baseline.running, &baseline.service)
    else {
        return false;
    };
    let wanted = &baseline.wanted_sha;
    !wanted.is_empty()
        && baseline.sha == *wanted
        && built.sha == *wanted
        && running.sha == *wanted
        && tracked(&baseline.hot_fixes).is_empty()
        && running.is_about(service)
        && built.node == baseline.node
        && running.node == baseline.node
        && !baseline.open
}
