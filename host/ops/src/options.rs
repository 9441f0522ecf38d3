//! What a session is opened with. All of it is values: nothing here or above
//! reads the environment, the current directory or the arguments of the process.

use super::prepare::plugins::PluginPool;
use super::target::WorldFactory;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use vdeploy_core::actor::Actor;
use vdeploy_core::ids::PluginName;
use vdeploy_journal::Store;
use vdeploy_lease::{LeaseTimes, process};

/// Environment variables.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The value of a variable, if it is set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The value, if it is set, is not empty, and is text.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.get(name)?.to_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let pairs = variables.into_iter().map(|(n, v)| (n.into(), v.into()));
        Self(pairs.collect())
    }
}

/// Values may be secrets, so only the names are shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// What takes time or costs time on this machine, told while it happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A plugin is compiled, because the cache does not have it.
    Compiling { plugin: PluginName, builtin: bool },
    /// Something that a person waits for, in one line.
    Doing(String),
    /// Compiled plugins are not kept, for this reason.
    CacheUnused(String),
}

/// Receives notices. Must not block.
pub type OnNotice = Arc<dyn Fn(Notice) + Send + Sync>;

/// What a session is opened with. [`SessionOptions::new`] has a default for each
/// field.
#[derive(Clone)]
pub struct SessionOptions {
    /// The project file. None looks for `vdeploy.toml` in the current directory
    /// and its parents, and takes the built-in project where there is none.
    pub project: Option<PathBuf>,
    /// Relative paths start here.
    pub current_dir: PathBuf,
    /// Where runs, leases, compiled plugins and the local cloud are kept. A
    /// directory that somebody else can write is refused.
    pub state_dir: PathBuf,
    /// Secrets with `env`, VM ids with `vm-env` and the home directory are read
    /// from here.
    pub environment: Environment,
    /// Whether programs may be started to get secrets.
    pub command_secrets: bool,
    /// A program that calls `vdeploy_wasm::compiler::child` when it is started with
    /// `vdeploy_wasm::compiler::ARGUMENT`: it compiles plugins outside this process.
    /// Without it they are compiled here.
    pub helper: Option<PathBuf>,
    /// Where compiled plugins are kept [default: `compiled` in the state directory].
    pub code_cache: Option<PathBuf>,
    /// The key that compiled plugins are signed with [default: `compile-key` in
    /// the state directory].
    pub code_cache_key: Option<PathBuf>,
    /// Recorded with runs and leases.
    pub actor: Actor,
    /// How long the leases of runs last without renewal.
    pub lease_times: LeaseTimes,
    /// Hears what takes time before a run begins.
    pub on_notice: OnNotice,
    /// Used in place of the database in the state directory.
    pub store: Option<Arc<dyn Store>>,
    /// Makes the outside of every run, in place of what the project's target says.
    pub world: Option<Arc<dyn WorldFactory>>,
    /// Loaded plugins, shared by the sessions that are given the same pool.
    pub plugins: PluginPool,
}

impl SessionOptions {
    /// The built-in project or the one that is found from `current_dir`, with
    /// an empty environment.
    pub fn new(current_dir: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            project: None,
            current_dir: current_dir.into(),
            state_dir: state_dir.into(),
            environment: Environment::default(),
            command_secrets: true,
            helper: None,
            code_cache: None,
            code_cache_key: None,
            actor: process::this_process(|_| None),
            lease_times: LeaseTimes::default(),
            on_notice: Arc::new(|_| {}),
            store: None,
            world: None,
            plugins: PluginPool::default(),
        }
    }
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("project", &self.project)
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}
