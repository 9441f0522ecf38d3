//! What every command starts from: the project and the state directory.

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::typed::Typed;
use crate::config::Project;
use crate::ids::PlanName;
use crate::journal::sqlite::SqliteStore;
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
        let project = Project::load(global.project.as_deref(), &cwd)
            .map_err(|e| CliError::usage(e.to_string()))?;
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

/// Opens the embedded store of a state directory.
pub fn open_store(state_dir: &Path) -> Result<Arc<SqliteStore>, CliError> {
    Ok(Arc::new(SqliteStore::open(&state_dir.join("vdeploy.db"))?))
}

/// The state directory: as given, or the user's.
pub fn state_dir(global: &Global) -> Result<PathBuf, CliError> {
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
