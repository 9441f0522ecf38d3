//! What can be seen here of the service and its target: the git remote and its
//! branch, `package.json`, the platform's variables, a running local cloud.
//!
//! Reads only, and starts nothing but git.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use vdeploy_ops::session::local_cloud_dir;
use vdeploy_ops::target::local_cloud;

/// The service that the built-in plan's defaults are made for.
const KNOWN_SERVICE: &str = "vers-agent-services";

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Detected {
    /// The remote `origin`, without user name and password.
    pub remote: Option<String>,
    /// The remote's main branch, else the one that is checked out.
    pub branch: Option<String>,
    /// `package.json` in the current directory.
    pub package: Option<Package>,
    /// Variables of the platform are set.
    pub vers: bool,
    /// `VERS_AUTH_TOKEN`, `VERS_API_KEY` and `VDEPLOY_VM`, where not set.
    pub unset: Vec<&'static str>,
    /// A local cloud runs in its default place.
    pub local_cloud: bool,
}

/// What `package.json` says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// `scripts.start`.
    pub start: Option<String>,
    /// Whether there is a `scripts.build`.
    pub builds: bool,
}

impl Detected {
    /// Looks around `cwd`.
    pub fn detect(cwd: &Path, state_dir: Option<&Path>) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let names = ["VERS_API_KEY", "VERS_AUTH_TOKEN", "VDEPLOY_VM"];
        let cloud = state_dir.map(local_cloud_dir);
        let package = std::fs::read_to_string(cwd.join("package.json"));
        Self {
            remote: git(cwd, &["remote", "get-url", "origin"]).map(|url| without_user(&url)),
            branch: git(
                cwd,
                &["symbolic-ref", "--short", "refs/remotes/origin/HEAD"],
            )
            .and_then(|name| name.strip_prefix("origin/").map(str::to_owned))
            .or_else(|| git(cwd, &["symbolic-ref", "--short", "HEAD"])),
            package: package.ok().and_then(|text| Package::read(&text)),
            vers: set("VERS_API_KEY") || set("VDEPLOY_VM"),
            unset: names.into_iter().filter(|name| !set(name)).collect(),
            local_cloud: cloud.is_some_and(|dir| local_cloud::is_running(&dir)),
        }
    }

    /// Where the checkout is most likely: `workspace/` and the repository.
    pub fn app_dir(&self) -> String {
        format!("workspace/{}", self.repository().unwrap_or(KNOWN_SERVICE))
    }

    fn repository(&self) -> Option<&str> {
        let remote = self.remote.as_deref()?.trim_end_matches('/');
        let remote = remote.strip_suffix(".git").unwrap_or(remote);
        let name = remote.rsplit(['/', ':']).next()?;
        (!name.is_empty()).then_some(name)
    }

    /// Whether the defaults of the built-in steps fit the service. Without a
    /// sign of another one they are taken to.
    pub fn is_known_service(&self) -> bool {
        match (&self.package, self.repository()) {
            (Some(package), _) => package.name == KNOWN_SERVICE,
            (None, Some(repository)) => repository == KNOWN_SERVICE,
            (None, None) => true,
        }
    }
}

impl Package {
    fn read(text: &str) -> Option<Self> {
        let package: Value = serde_json::from_str(text).ok()?;
        let scripts = package.get("scripts");
        let script = |name: &str| scripts?.get(name)?.as_str().map(str::to_owned);
        let name = package.get("name").and_then(Value::as_str);
        Some(Self {
            name: name.unwrap_or_default().to_owned(),
            start: script("start"),
            builds: script("build").is_some(),
        })
    }

    /// The file that node is started with, where `start` is plainly that.
    pub fn entry(&self) -> Option<(&str, &str)> {
        let start = self.start.as_deref()?;
        let plain = !start.contains(['&', '|', ';', '$', '`', '<', '>', '"', '\'', '(']);
        let mut words = start.split_whitespace();
        let node = words.next() == Some("node");
        let file = words.find(|word| !word.starts_with('-'))?;
        (plain && node).then_some((start, file))
    }
}

/// What git says, or nothing.
fn git(cwd: &Path, args: &[&str]) -> Option<String> {
    // Which variables are secrets is not known before there is a project, so it
    // gets those that it reads, and no others.
    let reads = |name: &OsStr| {
        let name = name.to_string_lossy();
        ["PATH", "HOME", "XDG_CONFIG_HOME"].contains(&&*name) || name.starts_with("GIT_")
    };
    let output = Command::new("git")
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| reads(name)))
        .args(args)
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_names_the_checkout_without_its_password() {
        for (url, dir) in [
            (
                "https://x:secret@git.example/team/board.git",
                "workspace/board",
            ),
            ("git@git.example:team/board.git", "workspace/board"),
            ("/srv/git/board.git/", "workspace/board"),
        ] {
            let detected = Detected {
                remote: Some(without_user(url)),
                ..Detected::default()
            };
            assert_eq!(detected.app_dir(), dir, "{url}");
            assert!(!detected.remote.unwrap().contains("secret"));
        }
        assert_eq!(
            Detected::default().app_dir(),
            "workspace/vers-agent-services"
        );
    }

    #[test]
    fn only_a_plain_start_of_node_is_taken_over() {
        let entry = |start: &str| {
            let text = serde_json::json!({ "scripts": { "start": start } }).to_string();
            let package = Package::read(&text).unwrap();
            package.entry().map(|(_, file)| file.to_owned())
        };
        assert_eq!(entry("node dist/main.js").as_deref(), Some("dist/main.js"));
        let flags = "node --enable-source-maps dist/main.js --port 1";
        assert_eq!(entry(flags).as_deref(), Some("dist/main.js"));
        for start in [
            "ts-node src/a.ts",
            "npm run x && node a.js",
            "PORT=1 node a.js",
            "node",
        ] {
            assert_eq!(entry(start), None, "{start}");
        }
    }
}
