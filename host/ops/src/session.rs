//! What every operation starts from: the project, the state directory, and who
//! asks.

use super::error::{OpsError, OpsErrorKind};
use super::options::SessionOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vdeploy_config::{ConfigError, Project, SecretNeeds, TargetConfig};
use vdeploy_core::capability::secrets::LoadedSecrets;
use vdeploy_core::ids::{PlanName, TargetName};
use vdeploy_core::plan::Plan;
use vdeploy_files::{Judge, Untrusted};
use vdeploy_journal::Store;
use vdeploy_journal::sqlite::SqliteStore;

/// A project with its state. Opening one touches no target and makes no file.
#[derive(Clone, Debug)]
pub struct Session {
    project: Arc<Project>,
    options: SessionOptions,
}

impl Session {
    /// Reads the project file.
    ///
    /// # Errors
    /// The project file is wrong, or others may write the state directory.
    pub fn open(options: SessionOptions) -> Result<Self, OpsError> {
        let project = read_project(&options)?;
        check_state_dir(&options)?;
        Ok(Self {
            project: Arc::new(project),
            options,
        })
    }

    /// With a project that was read or made before; the options that say where
    /// it is have no effect.
    pub fn with_project(options: SessionOptions, project: Project) -> Self {
        Self {
            project: Arc::new(project),
            options,
        }
    }

    /// The same project with other options. Those that say how the project is
    /// found and read have no effect any more.
    #[must_use]
    pub fn with_options(&self, change: impl FnOnce(&mut SessionOptions)) -> Self {
        let mut session = self.clone();
        change(&mut session.options);
        session
    }

    pub fn project(&self) -> &Project {
        &self.project
    }

    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    pub fn state_dir(&self) -> &Path {
        &self.options.state_dir
    }

    /// The plan of this name, as the project has it.
    ///
    /// # Errors
    /// The project has no such plan.
    pub fn plan(&self, name: &str) -> Result<Plan, OpsError> {
        Ok(self.project.plan(&PlanName::from(name))?.clone())
    }

    /// The target of this name, or the project's default.
    ///
    /// # Errors
    /// The project has no such target, or several and no default.
    pub fn target(&self, name: Option<&str>) -> Result<(TargetName, &TargetConfig), OpsError> {
        let (name, config) = self.project.target(name.map(TargetName::from).as_ref())?;
        Ok((name.clone(), config))
    }

    /// Runs, leases and facts.
    ///
    /// # Errors
    /// What the database says.
    pub fn store(&self) -> Result<Arc<dyn Store>, OpsError> {
        open_store(&self.options)
    }

    /// Fetches secrets.
    ///
    /// # Errors
    /// Each that is missing.
    pub(super) async fn secrets(
        &self,
        needs: &SecretNeeds,
    ) -> Result<LoadedSecrets, Vec<vdeploy_config::MissingSecret>> {
        let environment = &self.options.environment;
        let variable = |name: &str| environment.get(name).map(ToOwned::to_owned);
        vdeploy_config::fetch_secrets(&self.project, needs, &variable).await
    }
}

/// The project that the options name.
pub(super) fn read_project(options: &SessionOptions) -> Result<Project, ConfigError> {
    let mut project = Project::load(options.project.as_deref(), &options.current_dir)?;
    if !options.command_secrets {
        project.refuse_command_secrets();
    }
    Ok(project)
}

/// The database in a state directory.
const DATABASE: &str = "vdeploy.db";

/// The store that the options have, or that of the state directory, which must
/// be private.
///
/// # Errors
/// Others may write there, or what the database says.
pub fn open_store(options: &SessionOptions) -> Result<Arc<dyn Store>, OpsError> {
    match &options.store {
        Some(store) => Ok(store.clone()),
        None => {
            check_state_dir(options)?;
            Ok(Arc::new(SqliteStore::open(&database(&options.state_dir))?))
        }
    }
}

/// Where the runs are.
pub(super) fn database(state_dir: &Path) -> PathBuf {
    state_dir.join(DATABASE)
}

/// Refuses a state directory that somebody else owns or can write: runs are
/// resumed from what it says.
///
/// # Errors
/// The directory or a file of the store is not private.
pub fn check_state_dir(options: &SessionOptions) -> Result<(), OpsError> {
    if options.store.is_some() {
        return Ok(());
    }
    let judge = Judge::of_process();
    let dir = &options.state_dir;
    let files = ["", "-wal", "-shm", "-journal"].map(|end| dir.join(format!("{DATABASE}{end}")));
    let judged = judge
        .private_dir(dir)
        .and_then(|()| files.iter().try_for_each(|file| judge.private_file(file)));
    judged.map_err(|found| not_private("the state directory", dir, &found, "--state DIR"))
}

/// What is said of a directory of vdeploy's that is not used; `other` is the
/// option that names another one.
pub fn not_private(what: &str, dir: &Path, found: &Untrusted, other: &str) -> OpsError {
    let message = format!("{what} {} is not used: {found}", dir.display());
    let mend = match found.mend() {
        Some(mend) => format!("mend it with `{mend}`"),
        None => "take what is yours into a directory of your own".to_owned(),
    };
    OpsError::new(OpsErrorKind::Refused, message).hint(format!(
        "{mend}, or choose one that only you can write: {other}"
    ))
}

/// Where the local cloud is kept unless told otherwise.
pub fn local_cloud_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("local")
}
