//! What is wrong and what is odd about a target. Pure: facts in, words out.

use serde::Deserialize;
use vdeploy_plugin::Error;
use vdeploy_service::data::Counted;
use vdeploy_service::facts::{Checkout, DataDir, Facts, Place};
use vdeploy_service::listener::Listener;
use vdeploy_service::network::{Answer, Network};
use vdeploy_service::node::other_major;
use vdeploy_service::node_version;
use vdeploy_service::outputs::Baseline;
use vdeploy_service::records::short;
use vdeploy_service::remote::Resolved;

use crate::port::Foreign;
use crate::verdict::Verdict;

/// New files that a build makes: modules, the built files, git's objects.
const MIN_INODES: u64 = 20_000;
const REMOTE_FIX: &str = "check the address (git remote -v in the checkout), the login user's key or password for it, and the network of the target";

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
    pub foreign: Foreign,
}

impl Verdict {
    pub fn judge_facts(&mut self, facts: &Facts, place: &Place, limits: Limits) {
        self.judge_tools(facts);
        let Some(app_dir) = &facts.app_dir else {
            self.wrong(
                "checkout",
                format!("the target has no directory `{}`", place.app_dir),
                "clone the service there or set `app-dir`",
            );
            return;
        };
        self.judge_node(facts);
        self.judge_disk(facts, app_dir, limits.min_free_mb);
        match facts.data {
            DataDir::Readonly => self.wrong(
                "data directory",
                format!("{app_dir}/data cannot be written: the service would crash at its start"),
                "chown it to the login user",
            ),
            DataDir::NoDirectory => self.wrong(
                "data directory",
                format!("{app_dir}/data is not a directory"),
                "move that file away",
            ),
            DataDir::Absent => self.good("data directory", "none yet; the service makes it"),
            DataDir::Writable => self.good("data directory", "writable"),
            DataDir::Unknown => {}
        }
        if facts.git.is_some() {
            self.judge_checkout(&facts.checkout, app_dir, limits.hot_fixes);
        }
    }

    fn judge_tools(&mut self, facts: &Facts) {
        for (tool, version) in [
            ("git", &facts.git),
            ("node", &facts.node),
            ("npm", &facts.npm),
        ] {
            match version {
                Some(version) => self.good(tool, version.clone()),
                None => self.wrong(
                    tool,
                    format!("the target has no `{tool}` in the PATH of its login shell"),
                    "install it, or set the PATH in /etc/environment",
                ),
            }
        }
        if facts.node_env == "production" {
            self.odd(
                "NODE_ENV",
                "NODE_ENV=production in the login environment leaves out the compiler; the build sets NODE_ENV=development for itself",
                "",
            );
        }
    }

    /// The checkout is the old version; the new one may ask for another node.
    /// So a misfit is odd and no refusal.
    fn judge_node(&mut self, facts: &Facts) {
        let Some(version) = &facts.node else { return };
        let asked = [(".nvmrc", &facts.nvmrc), ("package.json", &facts.engines)];
        for (file, wanted) in asked {
            if let Some(wanted) = wanted
                && node_version::fits(version, wanted) == Some(false)
            {
                self.odd(
                    "node version",
                    format!("the target has node {version}, and {file} of the checkout asks for {wanted}"),
                    "install that version, or mend the file",
                );
            }
        }
        if let Some(built) = &facts.built
            && other_major(&built.node, version)
        {
            self.odd(
                "installed modules",
                format!(
                    "node was {} when the live modules were installed and is {version} now; what they have of native code does not load any more",
                    built.node
                ),
                "a build installs them anew; a restart without a build would not start",
            );
        }
    }

    fn judge_disk(&mut self, facts: &Facts, app_dir: &str, min_free_mb: u64) {
        if !facts.app_writable {
            self.wrong(
                "write permission",
                format!("the login user may not write in {app_dir}"),
                "chown it to the login user, or log in as its owner",
            );
        }
        if let Some(free) = facts.free_kb.map(|kb| kb / 1024) {
            match free < min_free_mb {
                true => self.wrong(
                    "disk space",
                    format!(
                        "{free} MiB are free on the disk of {app_dir}, {min_free_mb} are needed"
                    ),
                    "make room or set `min-free-mb`",
                ),
                false => self.good("disk space", format!("{free} MiB free")),
            }
        }
        if let Some(free) = facts.free_inodes {
            match free < MIN_INODES {
                true => self.wrong(
                    "inodes",
                    format!(
                        "{free} more files fit on the disk of {app_dir}, {MIN_INODES} are needed"
                    ),
                    "delete files: old logs, caches, build directories",
                ),
                false => self.good("inodes", format!("{free} free")),
            }
        }
    }

    fn judge_checkout(&mut self, checkout: &Checkout, app_dir: &str, hot_fixes: HotFixes) {
        if let Some(why) = &checkout.error {
            self.wrong(
                "checkout",
                format!("{app_dir} is no git checkout: {why}"),
                "clone the service there or set `app-dir`",
            );
            return;
        }
        match checkout.top == app_dir {
            true => self.good("checkout", app_dir),
            false => self.wrong(
                "checkout",
                format!("{app_dir} is inside the checkout {}", checkout.top),
                "set `app-dir` to the checkout's top directory",
            ),
        }
        if !checkout.remotes.iter().any(|remote| remote == "origin") {
            self.wrong(
                "git remote",
                format!("the checkout {app_dir} has no remote `origin`"),
                format!("add it on the target: git -C {app_dir} remote add origin URL"),
            );
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
        if local.is_empty() {
            self.good("hot-fixes", "none");
        }
        for what in local {
            match hot_fixes {
                HotFixes::Warn => self.odd(
                    "hot-fixes",
                    what,
                    "they will not be live after this run (git-pull keeps them)",
                ),
                HotFixes::Refuse => self.wrong(
                    "hot-fixes",
                    what,
                    "push or remove them, or set `hot-fixes = \"warn\"`",
                ),
            }
        }
    }

    /// Process, build and checkout should be of one commit. Where they are not,
    /// a run was cut off, or somebody pulled or built by hand.
    pub fn judge_version(&mut self, facts: &Facts, service: Option<&Listener>) {
        let mut known = Vec::new();
        if let (Some(running), Some(service)) = (&facts.running, service)
            && running.is_about(service)
        {
            known.push((format!("pid {} serves", service.pid), &running.sha));
        }
        if let Some(built) = &facts.built {
            known.push(("the live build is of".to_owned(), &built.sha));
        }
        known.push(("HEAD of the checkout is".to_owned(), &facts.checkout.sha));
        known.retain(|(_, sha)| !sha.is_empty());
        let Some((_, first)) = known.first() else {
            return;
        };
        if known.iter().all(|(_, sha)| sha == first) {
            return;
        }
        let said = known
            .iter()
            .map(|(what, sha)| format!("{what} {}", short(sha)));
        let said: Vec<String> = said.collect();
        self.odd(
            "version",
            format!(
                "{}: a run was cut off, or somebody changed the checkout by hand",
                said.join(", ")
            ),
            format!("if this run fails, it goes back to {}", short(first)),
        );
    }

    /// What asking the remote for the wanted commit gave.
    pub fn judge_remote(&mut self, resolved: &Result<Resolved, Error>, name: &str) {
        match resolved {
            Ok(resolved) => self.good("git remote", format!("`{name}` is {}", resolved.sha)),
            Err(error) => {
                let (what, fix) = error
                    .message
                    .split_once("; ")
                    .filter(|_| error.code == "git.ref")
                    .unwrap_or((error.message.as_str(), REMOTE_FIX));
                self.wrong("git remote", what, fix);
            }
        }
    }

    /// A registry is needed only for modules that are not there yet.
    pub fn judge_network(&mut self, network: &Network, modules: bool) {
        for name in &network.unresolved {
            self.wrong(
                "name resolution",
                format!("the target cannot resolve the name {name}"),
                "look at /etc/resolv.conf there and restart its resolver (a restored VM may have lost it)",
            );
        }
        if network.unresolved.is_empty() && !network.resolved.is_empty() {
            self.good("name resolution", network.resolved.join(", "));
        }
        let Some(registry) = &network.registry else {
            return;
        };
        let url = &registry.url;
        let (what, fix) = match &registry.answer {
            Answer::Ok => return self.good("npm registry", format!("{url} answers")),
            Answer::Refused { code } => (
                format!("the npm registry {url} refuses the target ({code})"),
                "log in there: put the token into the .npmrc of the login user",
            ),
            Answer::Down { why } => (
                format!("the npm registry {url} does not answer the target: {why}"),
                "wait until it is back, or set `registry` in the .npmrc of the login user",
            ),
        };
        match modules {
            true => self.odd(
                "npm registry",
                format!("{what}; a build that needs new modules will fail"),
                fix,
            ),
            false => self.wrong("npm registry", what, fix),
        }
    }

    pub fn judge_answers(&mut self, counted: &Counted, new_token: bool) {
        if counted.open {
            self.odd(
                "open server",
                "THE RUNNING SERVICE IS OPEN: it answers without a token. Everybody who reaches it may read and write",
                "this run starts it with the token",
            );
        }
        if counted.token_refused && !counted.open {
            let what = "the running service refuses the secret `auth-token`: it has another token";
            if new_token {
                self.odd(
                    "token",
                    what,
                    "every agent needs the new one after this run",
                );
            } else {
                self.wrong(
                    "token",
                    format!("{what}; after this run no agent could reach it"),
                    "give the right token, or set `new-token = true`",
                );
            }
            return;
        }
        if !counted.open && !counted.counts.0.is_empty() {
            self.good("token", "the running service takes it");
        }
        for problem in &counted.problems {
            self.odd("data", format!("could not count the data of {problem}"), "");
        }
        if counted.problems.is_empty() && !counted.counts.0.is_empty() {
            self.good("data", counted.counts.describe());
        }
    }
}

/// Without the untracked files: git leaves them where they are, and no build
/// sees them. The service's own `.auth-token` is one.
fn tracked(status: &[String]) -> Vec<&str> {
    let lines = status.iter().map(String::as_str);
    lines.filter(|line| !line.starts_with("??")).collect()
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
        && baseline.head == *wanted
        && built.sha == *wanted
        && running.sha == *wanted
        && tracked(&baseline.hot_fixes).is_empty()
        && running.is_about(service)
        && built.node == baseline.node
        && running.node == baseline.node
        && !baseline.open
}
