//! What every command starts from: the project and the state directory.

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::typed::Typed;
use crate::config::{ConfigError, Project};
use crate::ids::PlanName;
use crate::journal::sqlite::SqliteStore;
use crate::ownership::{Judge, Untrusted};
use crate::plan::Plan;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Project and state directory.
#[derive(Debug)]
pub struct Session {
    /// The project file's content, or the built-in project.
    pub project: Project,
    /// Runs, leases, compiled plugins.
    pub state_dir: PathBuf,
    /// What a recommended command must carry.
    pub typed: Typed,
}

impl Session {
    /// Reads the project file.
    pub fn open(global: &Global) -> Result<Self, CliError> {
        let cwd = std::env::current_dir()
            .map_err(|e| CliError::usage(format!("the current directory: {e}")))?;
        let project = project(global, &cwd).map_err(|e| CliError::usage(e.to_string()))?;
        Ok(Self {
            project,
            state_dir: state_dir(global)?,
            typed: Typed::of(global),
        })
    }

    /// The plan of this name, as the project has it.
    pub fn plan(&self, name: &str) -> Result<Plan, CliError> {
        self.project
            .plan(&PlanName::from(name))
            .cloned()
            .map_err(|e| CliError::usage(e.to_string()))
    }

    /// The embedded store.
    pub fn store(&self) -> Result<Arc<SqliteStore>, CliError> {
        open_store(&self.state_dir)
    }
}

/// The project that these options mean.
pub fn project(global: &Global, cwd: &Path) -> Result<Project, ConfigError> {
    let mut project = Project::load(global.project.as_deref(), cwd)?;
    if global.no_command_secrets {
        project.refuse_command_secrets();
    }
    Ok(project)
}

/// The database in a state directory.
const DATABASE: &str = "vdeploy.db";

/// Opens the embedded store of a state directory.
pub fn open_store(state_dir: &Path) -> Result<Arc<SqliteStore>, CliError> {
    Ok(Arc::new(SqliteStore::open(&state_dir.join(DATABASE))?))
}

/// The state directory: as given, or the user's. One that somebody else owns or
/// can write is refused: runs are resumed from what it says.
pub fn state_dir(global: &Global) -> Result<PathBuf, CliError> {
    let dir = state_dir_unjudged(global)?;
    let judge = Judge::of_process();
    let files = ["", "-wal", "-shm", "-journal"].map(|end| dir.join(format!("{DATABASE}{end}")));
    let judged = judge
        .private_dir(&dir)
        .and_then(|()| files.iter().try_for_each(|file| judge.private_file(file)));
    match judged {
        Ok(()) => Ok(dir),
        Err(found) => Err(not_private(
            "the state directory",
            &dir,
            &found,
            "--state DIR",
        )),
    }
}

/// What is said of a directory of vdeploy's that is not used.
pub fn not_private(what: &str, dir: &Path, found: &Untrusted, other: &str) -> CliError {
    let message = format!("{what} {} is not used: {found}", dir.display());
    let mend = match found.mend() {
        Some(mend) => format!("mend it with `{mend}`"),
        None => "take what is yours into a directory of your own".to_owned(),
    };
    CliError::new(ExitCode::Refused, message).hint(format!(
        "{mend}, or choose one that only you can write: {other}"
    ))
}

fn state_dir_unjudged(global: &Global) -> Result<PathBuf, CliError> {
    if let Some(dir) = &global.state {
        return Ok(dir.clone());
    }
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    from("XDG_STATE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("vdeploy"))
        .ok_or_else(|| {
            CliError::new(ExitCode::Usage, "neither XDG_STATE_HOME nor HOME is set")
                .hint("say where the state is kept: --state DIR")
        })
}

/// Where the local cloud is kept unless told otherwise.
pub fn default_cloud_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("local")
}
