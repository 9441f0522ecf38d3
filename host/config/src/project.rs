//! The project as a whole: finds the file, reads it over the built-in project
//! and looks names up.

use crate::builtin::{BUILTIN_FILE, BUILTIN_TOML};
use crate::found;
use crate::plans;
use crate::plans::overrides::Overrides;
use crate::plans::raw_plan::RawPlan;
use crate::plugins::{PluginConfig, RawPlugin};
use crate::read::json::Pointers;
use crate::read::nearest::did_you_mean;
use crate::read::parse::{At, Problems, TableReader};
use crate::read::span::{ConfigError, Place, Problem, Source};
use crate::secrets::SecretSource;
use crate::targets::TargetConfig;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use vdeploy_core::ids::{PlanName, PluginName, StepId, TargetName};
use vdeploy_core::plan::Plan;

/// The file's name.
pub const FILE_NAME: &str = "vdeploy.toml";

/// Everything that a project says, with the built-in project beneath it.
#[derive(Clone, Debug)]
pub struct Project {
    /// The file; None for the built-in project alone.
    pub file: Option<PathBuf>,
    /// The file's targets, or the built-in ones when it has none.
    pub targets: BTreeMap<TargetName, TargetConfig>,
    /// Used when a run names no target.
    pub default_target: Option<TargetName>,
    /// Built-in secrets and the file's; the file's win.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Built-in plugins and the file's.
    pub plugins: BTreeMap<PluginName, PluginConfig>,
    /// Built-in plans and the file's; the file's win.
    pub plans: BTreeMap<PlanName, Plan>,
    /// Whether programs may be started to fetch secrets.
    pub command_secrets: bool,
    places: BTreeMap<(PlanName, StepId), Pointers>,
}

impl Project {
    /// Loads `explicit`, or the `vdeploy.toml` in `cwd` or the nearest parent,
    /// or the built-in project when there is none. One that was found counts
    /// only when nobody else could have put it there (`config/found.rs`).
    pub fn load(explicit: Option<&Path>, cwd: &Path) -> Result<Self, ConfigError> {
        let path = match explicit {
            Some(path) => cwd.join(path),
            None => match found::nearest(cwd) {
                Some(path) => path,
                None => return Self::builtin(),
            },
        };
        let shown = path
            .strip_prefix(cwd)
            .unwrap_or(&path)
            .display()
            .to_string();
        let mut text = String::new();
        match explicit {
            Some(_) => File::open(&path),
            None => Ok(found::open(&path, cwd)?),
        }
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|e| {
            let help = match explicit {
                Some(_) => "check the path given with --project".to_owned(),
                None => format!("make {shown} readable, or name another file with --project"),
            };
            ConfigError::from(Problem::nowhere(format!("{shown} cannot be read: {e}")).help(help))
        })?;
        let base = path.parent().unwrap_or(cwd);
        let mut project = Self::from_text(&shown, &text, base)?;
        if explicit.is_none() {
            found::judge_named(&project, cwd)?;
        }
        project.file = Some(path);
        Ok(project)
    }

    /// From now on no program is started to fetch a secret; who needs such a
    /// secret is told so.
    pub fn refuse_command_secrets(&mut self) {
        self.command_secrets = false;
    }

    /// The project that is used where there is no file.
    pub fn builtin() -> Result<Self, ConfigError> {
        Self::from_text("", "", Path::new("."))
    }

    /// Reads `text` as a project file. `shown` is its name in messages; paths
    /// in it are relative to `base`.
    pub fn from_text(shown: &str, text: &str, base: &Path) -> Result<Self, ConfigError> {
        let mut found = Vec::new();
        let builtin = Layer::read(BUILTIN_FILE, BUILTIN_TOML, Path::new("."), &mut found);
        let file = Layer::read(shown, text, base, &mut found);
        if let (Some(builtin), Some(file)) = (builtin, file) {
            let project = merge(builtin, file, &mut found);
            if found.is_empty() {
                return Ok(project);
            }
        }
        Err(ConfigError::new(found))
    }

    /// The plan of this name.
    pub fn plan(&self, name: &PlanName) -> Result<&Plan, ConfigError> {
        self.plans.get(name).ok_or_else(|| {
            let all = self.plans.keys().map(PlanName::as_str);
            unknown("plan", name.as_str(), &all.collect::<Vec<_>>())
        })
    }

    /// The plugin of this name.
    pub fn plugin(&self, name: &PluginName) -> Result<&PluginConfig, ConfigError> {
        self.plugins.get(name).ok_or_else(|| {
            let all = self.plugins.keys().map(PluginName::as_str);
            unknown("plugin", name.as_str(), &all.collect::<Vec<_>>())
        })
    }

    /// The target of this name; without a name the default target, or the
    /// only one.
    pub fn target(
        &self,
        name: Option<&TargetName>,
    ) -> Result<(&TargetName, &TargetConfig), ConfigError> {
        let all: Vec<&str> = self.targets.keys().map(TargetName::as_str).collect();
        if let Some(wanted) = name.or(self.default_target.as_ref()) {
            let found = self.targets.get_key_value(wanted);
            return found.ok_or_else(|| unknown("target", wanted.as_str(), &all));
        }
        let mut targets = self.targets.iter();
        match (targets.next(), targets.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(ConfigError::from(
                Problem::nowhere("the project has several targets and no default").help(format!(
                    "name one with --target ({}), or write default-target = \"{}\" at the top of \
                     the project file",
                    all.join(", "),
                    all.first().copied().unwrap_or_default()
                )),
            )),
        }
    }

    /// Where the configuration of a step is written: the place of the value at
    /// `pointer` (JSON pointer; `""` is the step), or of what it stands in.
    pub fn place_of(&self, plan: &PlanName, step: &StepId, pointer: &str) -> Option<&Place> {
        let places = self.places.get(&(plan.clone(), step.clone()))?;
        let mut pointer = pointer;
        loop {
            if let Some(place) = places.get(pointer) {
                return Some(place);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    }
}

impl Project {
    /// The same for people, where the command line has set values over the file.
    pub fn origin_of(
        &self,
        plan: &PlanName,
        step: &StepId,
        pointer: &str,
        overrides: &Overrides,
    ) -> Option<String> {
        let given = overrides.origin_of(step, pointer).map(str::to_owned);
        given.or_else(|| self.place_of(plan, step, pointer).map(Place::to_string))
    }
}

fn unknown(what: &str, name: &str, all: &[&str]) -> ConfigError {
    let help = did_you_mean(name, &format!("{what}s"), all.iter().copied());
    ConfigError::from(Problem::nowhere(format!("no {what} `{name}`")).help(help))
}

/// One file as written.
struct Layer {
    targets: BTreeMap<TargetName, TargetConfig>,
    default_target: Option<At<String>>,
    secrets: BTreeMap<String, SecretSource>,
    plugins: BTreeMap<String, RawPlugin>,
    plans: BTreeMap<String, RawPlan>,
    /// Names of entries that have problems of their own, so that a use of
    /// them is not a second problem.
    broken: Broken,
}

#[derive(Default)]
struct Broken {
    targets: Vec<String>,
    secrets: Vec<String>,
}

impl Layer {
    fn read(shown: &str, text: &str, base: &Path, found: &mut Vec<Problem>) -> Option<Self> {
        let problems = Problems::new(Source::new(shown, text));
        let table = problems.parse(text);
        let layer = table.as_ref().map(|table| {
            let root = TableReader::root(table, &problems);
            Self::read_root(root, base)
        });
        drop(table);
        found.extend(problems.into_vec());
        layer
    }

    fn read_root(root: TableReader<'_>, base: &Path) -> Self {
        root.only(
            "the project",
            &["default-target", "targets", "secrets", "plugins", "plans"],
        );
        let mut layer = Self {
            targets: BTreeMap::new(),
            default_target: root.string("default-target"),
            secrets: BTreeMap::new(),
            plugins: BTreeMap::new(),
            plans: BTreeMap::new(),
            broken: Broken::default(),
        };
        for (name, table) in root.named("targets") {
            match TargetConfig::read(&name.value, table, base) {
                Some(target) => {
                    layer.targets.insert(TargetName::new(name.value), target);
                }
                None => layer.broken.targets.push(name.value),
            }
        }
        for (name, table) in root.named("secrets") {
            match SecretSource::read(&name.value, table, base) {
                Some(source) => {
                    layer.secrets.insert(name.value, source);
                }
                None => layer.broken.secrets.push(name.value),
            }
        }
        for (name, table) in root.named("plugins") {
            let plugin = RawPlugin::read(&name, table, base);
            layer.plugins.insert(name.value, plugin);
        }
        for (name, table) in root.named("plans") {
            let plan = RawPlan::read(&name, table);
            layer.plans.insert(name.value, plan);
        }
        layer
    }
}

fn merge(builtin: Layer, file: Layer, found: &mut Vec<Problem>) -> Project {
    let mut secrets = builtin.secrets;
    secrets.extend(file.secrets);
    let own_targets = !file.targets.is_empty() || !file.broken.targets.is_empty();
    let (targets, inherited_default) = match own_targets {
        true => (file.targets, None),
        false => (builtin.targets, builtin.default_target),
    };
    let default = file.default_target.or(inherited_default);
    check_targets(&targets, default.as_ref(), &secrets, &file.broken, found);

    let mut plugins = BTreeMap::new();
    for (name, raw) in builtin.plugins {
        check_secrets(&raw, &secrets, &file.broken, found);
        if let Some(plugin) = raw.over(None) {
            plugins.insert(PluginName::new(name), plugin);
        }
    }
    let own_plugins: Vec<String> = file.plugins.keys().cloned().collect();
    for (name, raw) in file.plugins {
        check_secrets(&raw, &secrets, &file.broken, found);
        let place = raw.place.clone();
        let name = PluginName::new(name);
        match raw.over(plugins.get(&name)) {
            Some(plugin) => {
                plugins.insert(name, plugin);
            }
            None => {
                let all: Vec<&str> = plugins.keys().map(PluginName::as_str).collect();
                let near = crate::read::nearest::nearest(name.as_str(), all.iter().copied());
                let help = match near {
                    Some(near) => {
                        format!("did you mean `{near}`? Otherwise write path = \"FILE.wasm\"")
                    }
                    None => "write path = \"FILE.wasm\", or source = \"builtin:NAME\"".to_owned(),
                };
                found.push(
                    Problem::at(&place, format!("plugin `{name}` has no `source` or `path`"))
                        .help(help),
                );
            }
        }
    }
    for raw in builtin.plans.values().chain(file.plans.values()) {
        for plugin in raw.plugins() {
            let known = plugins.contains_key(&PluginName::new(plugin.value.as_str()))
                || own_plugins.contains(&plugin.value);
            if !known {
                let all: Vec<&str> = plugins.keys().map(PluginName::as_str).collect();
                found.push(
                    Problem::at(&plugin.place, format!("no plugin `{}`", plugin.value))
                        .help(did_you_mean(&plugin.value, "plugins", all.iter().copied())),
                );
            }
        }
    }
    let built = plans::build(&builtin.plans, &file.plans, found);
    let (mut plans, mut places) = (BTreeMap::new(), BTreeMap::new());
    for (name, one) in built {
        for (step, pointers) in one.places {
            places.insert((name.clone(), step), pointers);
        }
        plans.insert(name, one.plan);
    }
    Project {
        file: None,
        targets,
        default_target: default.map(|d| TargetName::new(d.value)),
        secrets,
        plugins,
        plans,
        command_secrets: true,
        places,
    }
}

fn check_targets(
    targets: &BTreeMap<TargetName, TargetConfig>,
    default: Option<&At<String>>,
    secrets: &BTreeMap<String, SecretSource>,
    broken: &Broken,
    found: &mut Vec<Problem>,
) {
    for key in targets.values().flat_map(|target| target.kind().secrets()) {
        check_secret(key, secrets, broken, found);
    }
    if let Some(default) = default {
        let known = targets.contains_key(&TargetName::new(default.value.as_str()))
            || broken.targets.contains(&default.value);
        if !known {
            let all = targets.keys().map(TargetName::as_str);
            let all: Vec<&str> = all
                .chain(broken.targets.iter().map(String::as_str))
                .collect();
            found.push(
                Problem::at(&default.place, format!("no target `{}`", default.value))
                    .help(did_you_mean(&default.value, "targets", all.iter().copied())),
            );
        }
    }
}

fn check_secrets(
    raw: &RawPlugin,
    secrets: &BTreeMap<String, SecretSource>,
    broken: &Broken,
    found: &mut Vec<Problem>,
) {
    for name in &raw.secrets {
        check_secret(name, secrets, broken, found);
    }
}

fn check_secret(
    name: &At<String>,
    secrets: &BTreeMap<String, SecretSource>,
    broken: &Broken,
    found: &mut Vec<Problem>,
) {
    if secrets.contains_key(&name.value) || broken.secrets.contains(&name.value) {
        return;
    }
    let all = secrets.keys().chain(&broken.secrets);
    let all: Vec<&str> = all.map(String::as_str).collect();
    let near = crate::read::nearest::nearest(&name.value, all.iter().copied());
    let add = format!("add [secrets.{}] with env, file or command", name.value);
    let help = match near {
        Some(near) => format!("did you mean `{near}`? Otherwise {add}"),
        None => add,
    };
    found.push(Problem::at(&name.place, format!("no secret `{}`", name.value)).help(help));
}
