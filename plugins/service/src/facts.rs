//! Facts about the target: tools, disk, checkout, data directory, markers. One
//! probe reads them all.
//!
//! This module must not judge them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{Cx, Error};

use crate::data_loss::DataFile;
use crate::log;
use crate::outputs::{BuildMarker, RunningMarker};

const FACTS: &str = include_str!("facts.sh");
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the service is. Every plugin has these keys in its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Location {
    /// The checkout: absolute, or relative to the login directory.
    pub app_dir: String,
    /// None: `$PORT` of the target's login environment, else 3000.
    #[serde(default)]
    pub port: Option<u16>,
    /// The log file: absolute, or a name in the log directory of the service
    /// below `~/.vdeploy/logs` of the target.
    pub log: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Absolute, symbolic links resolved; none when it does not exist.
    pub app_dir: Option<String>,
    pub port: u16,
    /// Absolute; empty when there is no app directory.
    pub log: String,
    /// Why the log cannot be opened, with the file.
    pub log_refused: Option<String>,
    /// Output of `--version`; none when the tool is not in the PATH.
    pub git: Option<String>,
    pub node: Option<String>,
    pub npm: Option<String>,
    /// `$NODE_ENV` of the login environment; empty when it is not set.
    pub node_env: String,
    /// On the file system of the checkout, in KiB.
    pub free_kb: Option<u64>,
    /// On the same file system; none where it does not count them.
    pub free_inodes: Option<u64>,
    pub app_writable: bool,
    /// Whether the checkout has `node_modules`.
    pub modules: bool,
    /// The first line of `.nvmrc`.
    pub nvmrc: Option<String>,
    /// `engines.node` of `package.json`.
    pub engines: Option<String>,
    pub data: DataDir,
    /// The files in `data/`; none when not read, or more than 300.
    pub data_files: Option<Vec<DataFile>>,
    pub checkout: Checkout,
    /// None also after a build by hand.
    pub built: Option<BuildMarker>,
    pub running: Option<RunningMarker>,
    pub units: Vec<UnitHere>,
}

/// A loaded systemd service whose working directory is the checkout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitHere {
    pub name: String,
    /// As systemd prints it: `active/running`, `failed/failed`,
    /// `activating/auto-restart`.
    pub state: String,
    /// `enabled`, `disabled`, `static`, …
    pub enabled: String,
}

impl UnitHere {
    /// Whether systemd restarts it in a loop.
    pub fn restarts_in_a_loop(&self) -> bool {
        self.state.ends_with("/auto-restart")
    }

    /// For a person: `x.service (failed/failed, enabled)`.
    pub fn describe(&self) -> String {
        format!("{} ({}, {})", self.name, self.state, self.enabled)
    }
}

/// The state of `data/` in the checkout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataDir {
    Writable,
    /// The service creates it.
    Absent,
    /// The login user can neither write nor create it.
    Readonly,
    /// A file with this name is in the way.
    NoDirectory,
    #[default]
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkout {
    /// Why git rejects the directory as a repository.
    pub error: Option<String>,
    /// Top directory of the repository, absolute.
    pub top: String,
    /// HEAD; empty in a repository without a commit.
    pub sha: String,
    /// None when HEAD is detached.
    pub branch: Option<String>,
    pub remotes: Vec<String>,
    /// Lines of `git status --porcelain`, at most 200, without `.vdeploy/`.
    pub hot_fixes: Vec<String>,
    /// Commits that no branch of any remote has.
    pub unpushed: u32,
}

/// A probe.
///
/// # Errors
/// Those of ssh, and `command.failed` when the target has no working shell.
pub fn read<C>(cx: &Cx<C>, location: &Location) -> Result<Facts, Error> {
    ask(cx, location, "")
}

/// As [`read`], and lists the files in `data/`.
///
/// # Errors
/// As [`read`].
pub fn read_with_data<C>(cx: &Cx<C>, location: &Location) -> Result<Facts, Error> {
    ask(cx, location, "data")
}

fn ask<C>(cx: &Cx<C>, location: &Location, more: &str) -> Result<Facts, Error> {
    let port = location
        .port
        .map(|port| port.to_string())
        .unwrap_or_default();
    let output = cx
        .script("facts", &log::with_functions(FACTS))
        .args([&location.app_dir, &port, &location.log, more])
        .timeout(TIMEOUT)
        .probe()?
        .into_success("look at the target")?;
    parse(&output.stdout_text())
}

/// Splits `key=value` lines; other lines are left out.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('='))
}

fn parse(text: &str) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let mut data_files = Vec::new();
    for (key, value) in pairs(text) {
        let owned = || (!value.is_empty()).then(|| value.to_owned());
        match key {
            "app" => facts.app_dir = owned(),
            "port" => {
                facts.port = value.trim().parse().map_err(|_| {
                    Error::invalid(
                        "facts.port",
                        format!("`{value}` in $PORT of the target's login is no port; set the key `port`"),
                    )
                })?;
            }
            "log" => facts.log = value.to_owned(),
            "log-refused" => facts.log_refused = owned(),
            "git" => facts.git = owned(),
            "node" => facts.node = owned(),
            "npm" => facts.npm = owned(),
            "node-env" => facts.node_env = value.to_owned(),
            "free-kb" => facts.free_kb = value.parse().ok(),
            "free-inodes" => facts.free_inodes = value.parse().ok(),
            "app-writable" => facts.app_writable = value == "yes",
            "modules" => facts.modules = value == "yes",
            "nvmrc" => facts.nvmrc = owned(),
            "package" => facts.engines = engines(value),
            "data" => {
                facts.data = match value {
                    "writable" => DataDir::Writable,
                    "absent" => DataDir::Absent,
                    "readonly" => DataDir::Readonly,
                    "no-directory" => DataDir::NoDirectory,
                    _ => DataDir::Unknown,
                }
            }
            "data-file" => data_files.extend(DataFile::parse(value)),
            "data-lines" => lines(&mut data_files, value),
            "data-files" if value == "all" => {
                facts.data_files = Some(std::mem::take(&mut data_files));
            }
            // A marker that cannot be read counts as none: the step then does
            // its work instead of trusting it.
            "build" => facts.built = serde_json::from_str(value).ok(),
            "running" => facts.running = serde_json::from_str(value).ok(),
            "unit" => {
                let mut words = value.split(' ').map(str::to_owned);
                let mut word = || words.next().unwrap_or_default();
                facts.units.push(UnitHere {
                    name: word(),
                    state: word(),
                    enabled: word(),
                });
            }
            "git-error" => facts.checkout.error = owned(),
            "top" => facts.checkout.top = value.to_owned(),
            "sha" => facts.checkout.sha = value.to_owned(),
            "branch" => facts.checkout.branch = owned(),
            "remote" => facts.checkout.remotes.push(value.to_owned()),
            "hot-fix" => facts.checkout.hot_fixes.push(value.to_owned()),
            "unpushed" => facts.checkout.unpushed = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    Ok(facts)
}

/// Adds `LINES NAME` to the file of that name.
fn lines(files: &mut [DataFile], value: &str) {
    if let Some((lines, name)) = value.trim_start().split_once(' ')
        && let Some(file) = files.iter_mut().find(|file| file.name == name)
    {
        file.lines = lines.parse().ok();
    }
}

/// `engines.node` of a `package.json`. What npm cannot read either is the
/// build's to report.
fn engines(package: &str) -> Option<String> {
    let package: serde_json::Value = serde_json::from_str(package).ok()?;
    let node = package.get("engines")?.get("node")?.as_str()?;
    Some(node.to_owned())
}

impl Facts {
    /// # Errors
    /// `facts.no-checkout` when it does not exist.
    pub fn app_dir(&self, location: &Location) -> Result<&str, Error> {
        self.app_dir.as_deref().ok_or_else(|| {
            Error::invalid(
                "facts.no-checkout",
                format!(
                    "the target has no directory `{}`; clone the service there or set `app-dir`",
                    location.app_dir
                ),
            )
        })
    }
}
