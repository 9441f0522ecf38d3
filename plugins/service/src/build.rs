//! Builds in `.vdeploy/build`, promotes the result by renames, and keeps the
//! previous artifacts in `.vdeploy/previous`.
//!
//! The directory is inside the checkout, so that npm scripts that call git find
//! the repository. This module must not know when a build is wanted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{CommandBuilder, Cx, Error, ResultExt};

use crate::facts::pairs;
use crate::remote::WORKDIR_FUNCTIONS;

/// Relative to the checkout.
const STAGING_DIR: &str = ".vdeploy/build";

const STAGE: &str = include_str!("stage.sh");
const PROMOTE: &str = include_str!("promote.sh");
const RESTORE: &str = include_str!("restore.sh");

/// Needs a lock file; `npm install` does not.
const NPM_CI: &str = "npm ci";
const NPM_INSTALL: &str = "npm install";

/// The configuration of a plugin that builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recipe {
    /// `npm ci` becomes `npm install` where there is no lock file.
    pub install: String,
    pub build: String,
    /// Runs in the staging directory, with its own `data/`.
    #[serde(default)]
    pub test: Option<String>,
    /// The file of the program; must exist after the build.
    pub entry: String,
    /// Paths that the build promotes, relative to the checkout.
    pub artifacts: Vec<String>,
    pub reuse_modules: bool,
    /// Seconds without output after which a command is terminated.
    pub idle_timeout: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct BuildJob<'a> {
    /// Absolute path of the checkout.
    pub app_dir: &'a str,
    pub sha: &'a str,
    /// `node --version` of the target.
    pub node: &'a str,
    pub run: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildResult {
    pub reused_modules: bool,
    /// Whether `.vdeploy/previous` has the previous artifacts.
    pub kept_previous: bool,
    /// `npm install` replaced `npm ci`, because there is no lock file.
    pub without_lock: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreResult {
    /// The previous artifacts are live again.
    Restored,
    /// There were none before the run; its artifacts are removed.
    Removed,
    /// The live build is not of this run.
    Untouched,
}

impl Recipe {
    /// Refuses artifacts outside the checkout, and those that no build makes.
    ///
    /// # Errors
    /// `build.config`.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::invalid("build.config", message));
        for path in &self.artifacts {
            let first = path.split('/').next().unwrap_or_default();
            let odd = path.split('/').any(|part| matches!(part, "" | "." | ".."))
                || matches!(first, ".git" | ".vdeploy" | "data")
                || path.starts_with('-');
            if odd {
                return refuse(format!(
                    "artifact `{path}` must be a path inside the checkout and not in .git, .vdeploy or data"
                ));
            }
        }
        let made = |artifact: &String| {
            self.entry == *artifact || self.entry.starts_with(&format!("{artifact}/"))
        };
        if !self.artifacts.iter().any(made) {
            return refuse(format!(
                "entry `{}` is in no artifact; add its directory to `artifacts`",
                self.entry
            ));
        }
        for (key, command) in [("install", &self.install), ("build", &self.build)] {
            if command.trim().is_empty() || command.contains(['"', '\\', '\n']) {
                return refuse(format!(
                    "`{key}` must be one line without double quotes and backslashes"
                ));
            }
        }
        Ok(())
    }

    fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_timeout.max(1))
    }
}

/// Builds `job` by `recipe` and promotes the result; until then the live
/// artifacts stay as they are. A change; may be repeated.
///
/// # Errors
/// `build.failed` with the command and its last lines, `build.no-entry`,
/// `build.config`, and those of ssh.
pub fn make<C>(cx: &Cx<C>, recipe: &Recipe, job: BuildJob<'_>) -> Result<BuildResult, Error> {
    recipe.validate()?;
    let staged = script(cx, "stage", STAGE, job.app_dir)
        .args([job.sha, job.node, &recipe.install])
        .arg(if recipe.reuse_modules { "yes" } else { "no" })
        .args(&recipe.artifacts)
        .idle_timeout(recipe.idle())
        .exec()?
        .into_success("stage the build")?
        .stdout_text();
    let value = |key| pairs(&staged).find(|(found, _)| *found == key);
    let lock = value("lock").map(|(_, lock)| lock).unwrap_or_default();
    let reused_modules = value("modules") == Some(("modules", "reused"));
    let without_lock = lock.is_empty() && recipe.install == NPM_CI && !cx.dry_run();

    if !reused_modules {
        let install = if without_lock {
            NPM_INSTALL
        } else {
            &recipe.install
        };
        run(cx, recipe, job, install)?;
    }
    run(cx, recipe, job, &recipe.build)?;
    if !cx.dry_run() {
        let entry = format!("{STAGING_DIR}/{}", recipe.entry);
        let found = cx
            .ssh("test")
            .args(["-f", &entry])
            .cwd(job.app_dir)
            .probe()?;
        if !found.ok() {
            return Err(Error::failed(
                "build.no-entry",
                format!(
                    "`{}` made no {}; the live build is untouched",
                    recipe.build, recipe.entry
                ),
            ));
        }
    }
    if let Some(test) = recipe
        .test
        .as_deref()
        .filter(|test| !test.trim().is_empty())
    {
        run(cx, recipe, job, test)?;
    }
    let promoted = script(cx, "promote", PROMOTE, job.app_dir)
        .args([job.sha, job.node, lock, &recipe.install, job.run])
        .arg(cx.now_ms().to_string())
        .args(&recipe.artifacts)
        .exec()?
        .into_success("promote the build")?
        .stdout_text();
    Ok(BuildResult {
        reused_modules,
        kept_previous: pairs(&promoted).any(|pair| pair == ("previous", "kept")),
        without_lock,
    })
}

/// Restores the artifacts from before run `run`. A change; may be repeated, and
/// does nothing when another run made the live build.
///
/// # Errors
/// `command.failed` when a rename fails, and those of ssh.
pub fn restore<C>(
    cx: &Cx<C>,
    app_dir: &str,
    run: &str,
    artifacts: &[String],
) -> Result<RestoreResult, Error> {
    let text = script(cx, "restore", RESTORE, app_dir)
        .arg(run)
        .args(artifacts)
        .exec()?
        .into_success("restore the previous build")?
        .stdout_text();
    let state = pairs(&text).find(|(key, _)| *key == "state");
    Ok(match state {
        Some((_, "restored")) => RestoreResult::Restored,
        Some((_, "removed")) => RestoreResult::Removed,
        _ => RestoreResult::Untouched,
    })
}

fn script<C>(cx: &Cx<C>, name: &str, text: &str, app_dir: &str) -> CommandBuilder {
    cx.script(name, &format!("{WORKDIR_FUNCTIONS}\n{text}"))
        .cwd(app_dir)
}

/// Runs one command of the recipe in the staging directory.
fn run<C>(cx: &Cx<C>, recipe: &Recipe, job: BuildJob<'_>, line: &str) -> Result<(), Error> {
    cx.info(line);
    let output = command(cx, line)
        .cwd(format!("{}/{STAGING_DIR}", job.app_dir))
        // The compiler is a development dependency.
        .env("NODE_ENV", "development")
        // An .npmrc can exclude it too.
        .env("npm_config_include", "dev")
        .env("npm_config_audit", "false")
        .env("npm_config_fund", "false")
        .env("npm_config_update_notifier", "false")
        .env("npm_config_progress", "false")
        .idle_timeout(recipe.idle())
        .exec()
        .with_context(|| format!("`{line}`"))?;
    output.into_success(&format!("`{line}`")).map_err(|error| {
        Error::failed(
            "build.failed",
            format!("{}\nthe live build is untouched", error.message),
        )
    })?;
    Ok(())
}

/// Uses a shell only where the line needs one.
fn command<C>(cx: &Cx<C>, line: &str) -> CommandBuilder {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    if line.contains(|c: char| "|&;<>()$`'*?[]#~{}!".contains(c)) || program.contains('=') {
        return cx.ssh("sh").args(["-c", line]);
    }
    cx.ssh(program).args(words)
}
