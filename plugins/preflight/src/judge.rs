//! Rules of preflight about the target, its checkout and its network. Pure:
//! facts in, findings out.

use serde::Deserialize;
use vdeploy_plugin::Error;
use vdeploy_service::data::Counted;
use vdeploy_service::facts::{Checkout, DataDir, Facts, Location};
use vdeploy_service::listener::Listener;
use vdeploy_service::network::{Network, RegistryAnswer};
use vdeploy_service::node::other_major;
use vdeploy_service::node_version;
use vdeploy_service::outputs::Baseline;
use vdeploy_service::records::short;
use vdeploy_service::remote::Resolved;

use crate::findings::Findings;
use crate::port::Foreign;

/// Files that a build creates: modules, artifacts, git objects.
const MIN_INODES: u64 = 20_000;
const REMOTE_FIX: &str = "check the address (git remote -v in the checkout), the login user's key or password for it, and the network of the target";

/// How to treat changes made by hand on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HotFixes {
    Warn,
    Refuse,
}

#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub min_free_mb: u64,
    pub hot_fixes: HotFixes,
    pub foreign: Foreign,
}

impl Findings {
    pub fn judge_facts(&mut self, facts: &Facts, location: &Location, policy: Policy) {
        self.judge_tools(facts);
        let Some(app_dir) = &facts.app_dir else {
            self.fail(
                "checkout",
                format!("the target has no directory `{}`", location.app_dir),
                "clone the service there or set `app-dir`",
            );
            return;
        };
        self.judge_node(facts);
        self.judge_disk(facts, app_dir, policy.min_free_mb);
        match facts.data {
            DataDir::Readonly => self.fail(
                "data directory",
                format!("{app_dir}/data cannot be written; the service would crash at startup"),
                "chown it to the login user",
            ),
            DataDir::NoDirectory => self.fail(
                "data directory",
                format!("{app_dir}/data is not a directory"),
                "move that file away",
            ),
            DataDir::Absent => self.pass("data directory", "none yet; the service creates it"),
            DataDir::Writable => self.pass("data directory", "writable"),
            DataDir::Unknown => {}
        }
        if facts.git.is_some() {
            self.judge_checkout(&facts.checkout, app_dir, policy.hot_fixes);
        }
    }

    fn judge_tools(&mut self, facts: &Facts) {
        for (tool, version) in [
            ("git", &facts.git),
            ("node", &facts.node),
            ("npm", &facts.npm),
        ] {
            match version {
                Some(version) => self.pass(tool, version.clone()),
                None => self.fail(
                    tool,
                    format!("the target has no `{tool}` in the PATH of its login shell"),
                    "install it, or set the PATH in /etc/environment",
                ),
            }
        }
        if facts.node_env == "production" {
            self.warn(
                "NODE_ENV",
                "NODE_ENV=production in the login environment leaves out the compiler; the build sets NODE_ENV=development for its own commands",
                "",
            );
        }
    }

    /// A mismatch only warns: the checkout holds the old version, and the new
    /// one may require another node.
    fn judge_node(&mut self, facts: &Facts) {
        let Some(version) = &facts.node else { return };
        let asked = [(".nvmrc", &facts.nvmrc), ("package.json", &facts.engines)];
        for (file, wanted) in asked {
            if let Some(wanted) = wanted
                && node_version::fits(version, wanted) == Some(false)
            {
                self.warn(
                    "node version",
                    format!("the target has node {version}, and {file} of the checkout requires {wanted}"),
                    "install that version, or correct the file",
                );
            }
        }
        if let Some(built) = &facts.built
            && other_major(&built.node, version)
        {
            self.warn(
                "installed modules",
                format!(
                    "the live modules were installed with node {}, and node is {version} now; modules with native code no longer load",
                    built.node
                ),
                "a build installs them again; without a build the service does not start",
            );
        }
    }

    fn judge_disk(&mut self, facts: &Facts, app_dir: &str, min_free_mb: u64) {
        if !facts.app_writable {
            self.fail(
                "write permission",
                format!("the login user may not write in {app_dir}"),
                "chown it to the login user, or log in as its owner",
            );
        }
        if let Some(free) = facts.free_kb.map(|kb| kb / 1024) {
            match free < min_free_mb {
                true => self.fail(
                    "disk space",
                    format!(
                        "{free} MiB are free on the disk of {app_dir}; the build needs {min_free_mb} MiB"
                    ),
                    "free disk space or set `min-free-mb`",
                ),
                false => self.pass("disk space", format!("{free} MiB free")),
            }
        }
        if let Some(free) = facts.free_inodes {
            match free < MIN_INODES {
                true => self.fail(
                    "inodes",
                    format!(
                        "{free} more files fit on the disk of {app_dir}; the build needs {MIN_INODES}"
                    ),
                    "delete files: old logs, caches, build directories",
                ),
                false => self.pass("inodes", format!("{free} free")),
            }
        }
    }

    fn judge_checkout(&mut self, checkout: &Checkout, app_dir: &str, hot_fixes: HotFixes) {
        if let Some(why) = &checkout.error {
            self.fail(
                "checkout",
                format!("{app_dir} is no git checkout: {why}"),
                "clone the service there or set `app-dir`",
            );
            return;
        }
        match checkout.top == app_dir {
            true => self.pass("checkout", app_dir),
            false => self.fail(
                "checkout",
                format!("{app_dir} is inside the checkout {}", checkout.top),
                "set `app-dir` to the checkout's top directory",
            ),
        }
        if !checkout.remotes.iter().any(|remote| remote == "origin") {
            self.fail(
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
            local.push(format!("{} commits were never pushed", checkout.unpushed));
        }
        if local.is_empty() {
            self.pass("hot-fixes", "none");
        }
        for what in local {
            match hot_fixes {
                HotFixes::Warn => self.warn(
                    "hot-fixes",
                    what,
                    "they are not live after this run; git-pull saves them as a patch",
                ),
                HotFixes::Refuse => self.fail(
                    "hot-fixes",
                    what,
                    "push or remove them, or set `hot-fixes = \"warn\"`",
                ),
            }
        }
    }

    /// Process, build and checkout should have one commit. If not, a run was
    /// interrupted, or somebody pulled or built by hand.
    pub fn judge_version(&mut self, facts: &Facts, service: Option<&Listener>) {
        let mut known = Vec::new();
        if let (Some(running), Some(service)) = (&facts.running, service)
            && running.is_about(service)
        {
            known.push((format!("pid {} serves", service.pid), &running.sha));
        }
        if let Some(built) = &facts.built {
            known.push(("the live build has".to_owned(), &built.sha));
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
        self.warn(
            "version",
            format!(
                "{}: a run was interrupted, or somebody changed the checkout by hand",
                said.join(", ")
            ),
            format!("if this run fails, it rolls back to {}", short(first)),
        );
    }

    pub fn judge_remote(&mut self, resolved: &Result<Resolved, Error>, name: &str) {
        match resolved {
            Ok(resolved) => self.pass("git remote", format!("`{name}` is {}", resolved.sha)),
            Err(error) => {
                let (what, fix) = error
                    .message
                    .split_once("; ")
                    .filter(|_| error.code == "git.ref")
                    .unwrap_or((error.message.as_str(), REMOTE_FIX));
                self.fail("git remote", what, fix);
            }
        }
    }

    /// Only modules that are not installed yet need the registry.
    pub fn judge_network(&mut self, network: &Network, modules: bool) {
        for name in &network.unresolved {
            self.fail(
                "name resolution",
                format!("the target cannot resolve the name {name}"),
                "check /etc/resolv.conf on the target and restart its resolver (a restored VM may have lost it)",
            );
        }
        if network.unresolved.is_empty() && !network.resolved.is_empty() {
            self.pass("name resolution", network.resolved.join(", "));
        }
        let Some(registry) = &network.registry else {
            return;
        };
        let url = &registry.url;
        let (what, fix) = match &registry.answer {
            RegistryAnswer::Ok => return self.pass("npm registry", format!("{url} answers")),
            RegistryAnswer::Refused { code } => (
                format!("the npm registry {url} refuses the target ({code})"),
                "log in to the registry: put its token into the .npmrc of the login user",
            ),
            RegistryAnswer::Down { why } => (
                format!("the npm registry {url} does not answer the target: {why}"),
                "wait until it is back, or set `registry` in the .npmrc of the login user",
            ),
        };
        match modules {
            true => self.warn(
                "npm registry",
                format!("{what}; a build that needs new modules will fail"),
                fix,
            ),
            false => self.fail("npm registry", what, fix),
        }
    }

    pub fn judge_answers(&mut self, counted: &Counted, new_token: bool) {
        if counted.open {
            self.warn(
                "open server",
                "THE RUNNING SERVICE IS OPEN: it answers without a token. Everybody who can connect to it can read and write",
                "this run starts it with the token",
            );
        }
        if counted.token_refused && !counted.open {
            let what = "the running service rejects the secret `auth-token`: it has another token";
            if new_token {
                self.warn(
                    "token",
                    what,
                    "after this run every agent needs the new token",
                );
            } else {
                self.fail(
                    "token",
                    format!("{what}; after this run every agent would be locked out"),
                    "give the right token, or set `new-token = true`",
                );
            }
            return;
        }
        if !counted.open && !counted.counts.0.is_empty() {
            self.pass("token", "the running service accepts it");
        }
        for problem in &counted.problems {
            self.warn("data", format!("cannot count the data of {problem}"), "");
        }
        if counted.problems.is_empty() && !counted.counts.0.is_empty() {
            self.pass("data", counted.counts.describe());
        }
    }
}

/// Drops untracked files: git leaves them in place, and no build uses them.
/// `.auth-token` of the service is one.
fn tracked(status: &[String]) -> Vec<&str> {
    let lines = status.iter().map(String::as_str);
    lines.filter(|line| !line.starts_with("??")).collect()
}

/// Whether markers and process prove that the wanted commit is checked out,
/// built and running.
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
