//! What is wrong and what is odd about a target. Pure: facts in, words out.

use serde::Deserialize;
use vdeploy_plugin::Error;
use vdeploy_service::baseline::{Baseline, Listener};
use vdeploy_service::data::Counted;
use vdeploy_service::facts::{Checkout, DataDir, Facts, Place};
use vdeploy_service::listener::Port;

/// What to do about changes that were made on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HotFixes {
    Warn,
    Refuse,
}

/// What the configuration allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub min_free_mb: u64,
    pub hot_fixes: HotFixes,
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

    pub fn judge_port(&mut self, facts: &Facts, port: &Port) {
        let number = facts.port;
        match port {
            Port::Free => {}
            Port::Hidden { uid } => self.wrong(format!(
                "port {number} belongs to a process of user id {uid} that the login user may not look at; log in as that user, or stop it"
            )),
            Port::Owned(listener) => self.judge_listener(facts, listener),
        }
    }

    /// The right process runs in the checkout; node in another directory is
    /// the service with another data directory; anything else is foreign.
    fn judge_listener(&mut self, facts: &Facts, listener: &Listener) {
        let Some(app_dir) = &facts.app_dir else {
            return;
        };
        if listener.cwd == *app_dir {
            return;
        }
        let number = facts.port;
        let who = listener.describe();
        let managed = match &listener.unit {
            Some(unit) => format!(", managed by {unit}"),
            None => String::new(),
        };
        if listener.cwd.is_empty() {
            self.wrong(format!(
                "port {number} belongs to {who} of user id {}{managed}, whose directory the login user may not see; log in as that user",
                listener.uid
            ));
        } else if is_node(listener) {
            self.wrong(format!(
                "the service on port {number}, {who}{managed}, works in {}, not in `app-dir` {app_dir}: its data is there; set `app-dir` to the right one, or stop it",
                listener.cwd
            ));
        } else {
            self.wrong(format!(
                "port {number} belongs to another program: {who}{managed}, in {}; stop it or set `port`",
                listener.cwd
            ));
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

/// Without the untracked files: git leaves them where they are, and no build
/// sees them. The service's own `.auth-token` is one.
fn tracked(status: &[String]) -> Vec<&str> {
    let lines = status.iter().map(String::as_str);
    lines.filter(|line| !line.starts_with("??")).collect()
}

fn is_node(listener: &Listener) -> bool {
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
