//! `[secrets.NAME]`: where secrets come from, and fetching them before a run.
//!
//! Each is fetched once, all at the same time, with nothing on a terminal. A
//! value is only ever in memory that is wiped.

use crate::project::Project;
use crate::read::parse::TableReader;
use crate::read::span::Place;
use crate::targets::TargetConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use vdeploy_core::capability::mask::{Masker, SHORTEST_SECRET};
use vdeploy_core::capability::quote;
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue};
use vdeploy_core::ids::TargetName;
use vdeploy_core::plan::Plan;
use zeroize::Zeroizing;

/// How long a source may take.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Largest secret in bytes.
pub const LARGEST: usize = 64 * 1024;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// An environment variable of the host.
    Env(String),
    /// A file; absolute, or beginning with `~/`.
    File(PathBuf),
    /// What a program prints; no shell.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// Where it is started.
        dir: PathBuf,
        /// Where the project says so.
        place: Place,
    },
}

/// Variables that are secrets in most projects, whatever this one says.
pub const USUAL_SECRET_VARIABLES: [&str; 2] = ["VERS_API_KEY", "VERS_AUTH_TOKEN"];

/// The environment variables that hold secrets. No program that is started on
/// this machine inherits them: what it needs, it is given.
pub fn secret_variables(project: &Project) -> BTreeSet<String> {
    let of_sources = project.secrets.values().filter_map(|source| match source {
        SecretSource::Env(variable) => Some(variable.as_str()),
        SecretSource::File(_) | SecretSource::Command { .. } => None,
    });
    let all = of_sources.chain(USUAL_SECRET_VARIABLES);
    all.map(str::to_owned).collect()
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "environment variable {variable}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Command { argv, .. } => {
                let words: Vec<String> = argv.iter().map(|w| quote::sh(w)).collect();
                write!(f, "command `{}`", words.join(" "))
            }
        }
    }
}

impl SecretSource {
    /// Reads `[secrets.NAME]`. Paths are relative to `base`.
    pub(super) fn read(name: &str, table: TableReader<'_>, base: &Path) -> Option<Self> {
        let keys = ["env", "file", "command"];
        table.only(&format!("[secrets.{name}]"), &keys);
        let given: Vec<&str> = keys.into_iter().filter(|k| table.has(k)).collect();
        let [key] = given.as_slice() else {
            let message = match given.is_empty() {
                true => format!("[secrets.{name}] has no source"),
                false => format!("[secrets.{name}] has more than one source"),
            };
            table.problem(
                message,
                "write one of env = \"VARIABLE\", file = \"PATH\", command = [\"PROGRAM\", \"ARG\"]",
            );
            return None;
        };
        match *key {
            "env" => table.string("env").map(|e| Self::Env(e.value)),
            "file" => table.string("file").map(|f| {
                Self::File(match f.value.starts_with("~/") {
                    true => PathBuf::from(f.value),
                    false => base.join(f.value),
                })
            }),
            _ => {
                let argv: Vec<String> = table
                    .strings("command")
                    .into_iter()
                    .map(|w| w.value)
                    .collect();
                if argv.first().is_none_or(String::is_empty) {
                    table.problem(
                        format!("[secrets.{name}] has a command without a program"),
                        "write command = [\"PROGRAM\", \"ARG\"]",
                    );
                    return None;
                }
                let dir = base.to_path_buf();
                let place = table.place_of("command")?;
                Some(Self::Command { argv, dir, place })
            }
        }
    }
}

/// Names of secrets with who needs each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecretNeeds(pub BTreeMap<String, Vec<String>>);

impl SecretNeeds {
    /// What a run of `plan` on `target` needs: every secret that a grant of
    /// the plan's plugins names, and what reaching the target takes.
    pub fn of_run(
        project: &Project,
        plan: &Plan,
        target_name: &TargetName,
        target: &TargetConfig,
    ) -> Self {
        let mut needs = Self::default();
        for key in target.kind().secrets() {
            needs.add(&key.value, format!("target `{target_name}`"));
        }
        for step in plan.all_steps() {
            if let Some(plugin) = project.plugins.get(&step.plugin) {
                for name in plugin.grants.secret_names() {
                    needs.add(name, format!("plugin `{}`", step.plugin));
                }
            }
        }
        needs
    }

    /// `who` needs `name`.
    pub fn add(&mut self, name: &str, who: String) {
        let all = self.0.entry(name.to_owned()).or_default();
        if !all.contains(&who) {
            all.push(who);
        }
    }
}

/// A secret that could not be fetched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("secret `{name}` ({from}, needed by {}): {problem}\n  help: {help}", needed_by.join(", "))]
pub struct MissingSecret {
    /// Its name.
    pub name: String,
    /// Where it should come from, as text.
    pub from: String,
    /// Who needs it.
    pub needed_by: Vec<String>,
    /// What went wrong.
    pub problem: String,
    /// What to do.
    pub help: String,
}

/// Fetches all secrets in `needs`; `env` answers for environment variables. The
/// error lists every secret that is missing.
pub async fn fetch_secrets(
    project: &Project,
    needs: &SecretNeeds,
    env: &(dyn Fn(&str) -> Option<std::ffi::OsString> + Sync),
) -> Result<LoadedSecrets, Vec<MissingSecret>> {
    let withheld = &secret_variables(project);
    let fetches = needs.0.iter().map(|(name, needed_by)| async move {
        let Some(source) = project.secrets.get(name) else {
            return Err(MissingSecret {
                name: name.clone(),
                from: "not in the project".to_owned(),
                needed_by: needed_by.clone(),
                problem: "it has no source".to_owned(),
                help: format!("add [secrets.{name}] with env, file or command"),
            });
        };
        if let (SecretSource::Command { place, .. }, false) = (source, project.command_secrets) {
            return Err(MissingSecret {
                name: name.clone(),
                from: source.to_string(),
                needed_by: needed_by.clone(),
                problem: format!(
                    "{place}: the command was not run, because --no-command-secrets is in force"
                ),
                help: format!(
                    "give [secrets.{name}] `env` or `file`, or leave out --no-command-secrets \
                     (VDEPLOY_NO_COMMAND_SECRETS) if you trust this project file"
                ),
            });
        }
        let fetched = tokio::time::timeout(DEADLINE, fetch(source, env, withheld))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())));
        let checked = fetched.and_then(|value| check(&value).map(|()| value));
        match checked {
            Ok(value) => Ok((name.clone(), SecretValue::new(value.to_string()))),
            Err(problem) => Err(MissingSecret {
                name: name.clone(),
                from: source.to_string(),
                needed_by: needed_by.clone(),
                problem,
                help: help_for(source, name),
            }),
        }
    });
    let (mut values, mut missing) = (Vec::new(), Vec::new());
    for result in futures_util::future::join_all(fetches).await {
        match result {
            Ok(pair) => values.push(pair),
            Err(problem) => missing.push(problem),
        }
    }
    match missing.is_empty() {
        true => Ok(LoadedSecrets::new(values)),
        false => Err(missing),
    }
}

fn help_for(source: &SecretSource, name: &str) -> String {
    let other = format!("or give [secrets.{name}] another source in vdeploy.toml");
    match source {
        SecretSource::Env(variable) => format!("export {variable}=… and run again, {other}"),
        SecretSource::File(path) => format!("put the value into {}, {other}", path.display()),
        SecretSource::Command { .. } => format!(
            "run the command by hand; it must print the value on stdout and ask nothing, {other}"
        ),
    }
}

fn check(value: &str) -> Result<(), String> {
    match value.chars().count() {
        0 => Err("it is empty".to_owned()),
        n if n < SHORTEST_SECRET => Err(format!(
            "it has {n} characters; fewer than {SHORTEST_SECRET} cannot be kept out of the output"
        )),
        _ => Ok(()),
    }
}

type Fetched = Result<Zeroizing<String>, String>;

async fn fetch(
    source: &SecretSource,
    env: &(dyn Fn(&str) -> Option<std::ffi::OsString> + Sync),
    withheld: &BTreeSet<String>,
) -> Fetched {
    match source {
        SecretSource::Env(variable) => {
            let value = env(variable).ok_or_else(|| "it is not set".to_owned())?;
            text(Zeroizing::new(value.into_encoded_bytes()))
        }
        SecretSource::File(path) => {
            let path = match path.strip_prefix("~") {
                Ok(rest) => {
                    let home = env("HOME").ok_or("`~` has no meaning without HOME")?;
                    Path::new(&home).join(rest)
                }
                Err(_) => path.clone(),
            };
            let file = tokio::fs::File::open(&path)
                .await
                .map_err(|e| e.to_string())?;
            text(read_bounded(file).await?)
        }
        SecretSource::Command { argv, dir, .. } => run(argv, dir, withheld).await,
    }
}

async fn run(argv: &[String], dir: &Path, withheld: &BTreeSet<String>) -> Fetched {
    let (program, args) = argv.split_first().ok_or("the command is empty")?;
    let mut command = tokio::process::Command::new(program);
    for variable in withheld {
        command.env_remove(variable);
    }
    let mut child = command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // In the background of the terminal: it cannot ask there.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("it cannot be started: {e}"))?;
    let stdout = child.stdout.take().ok_or("its output cannot be read")?;
    let stderr = child.stderr.take().ok_or("its output cannot be read")?;
    let (out, err) = tokio::join!(read_bounded(stdout), read_bounded(stderr));
    let out = out?;
    let status = child.wait().await.map_err(|e| e.to_string())?;
    if status.success() {
        return text(out);
    }
    let said = err.map(|e| String::from_utf8_lossy(&e).into_owned());
    let said = said.unwrap_or_default();
    let printed = SecretValue::new(String::from_utf8_lossy(&out).trim().to_owned());
    let masker = Masker::new([&printed]).unwrap_or_else(|_| Masker::none());
    let last: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    let last = last.get(last.len().saturating_sub(3)..).unwrap_or_default();
    let excerpt: String = masker.mask(&last.join(" | ")).chars().take(400).collect();
    Err(match excerpt.is_empty() {
        true => format!("it failed with {status} and no message"),
        false => format!("it failed with {status}: {excerpt}"),
    })
}

async fn read_bounded(from: impl AsyncRead + Unpin) -> Result<Zeroizing<Vec<u8>>, String> {
    // All room at once: a growing buffer leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST + 64));
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX) + 1;
    let read = from.take(limit).read_to_end(&mut bytes).await;
    match read {
        Ok(n) if n > LARGEST => Err(format!("it is longer than {} KiB", LARGEST / 1024)),
        Ok(_) => Ok(bytes),
        Err(e) => Err(e.to_string()),
    }
}

/// Text without the line end that files and programs add.
fn text(bytes: Zeroizing<Vec<u8>>) -> Fetched {
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use vdeploy_core::capability::secrets::Secrets as _;

    fn project(text: &str, dir: &Path) -> Project {
        Project::from_text("vdeploy.toml", text, dir).unwrap()
    }

    fn needs(names: &[&str]) -> SecretNeeds {
        let mut needs = SecretNeeds::default();
        for name in names {
            needs.add(name, "plugin `p`".to_owned());
        }
        needs
    }

    #[tokio::test]
    async fn each_source_gives_its_value_without_the_line_end() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "from-file\r\n").unwrap();
        let text = "[secrets.a]\nenv = \"A\"\n[secrets.b]\nfile = \"token\"\n[secrets.c]\n\
                    command = [\"cat\", \"token\"]\n[secrets.d]\nfile = \"~/token\"\n";
        let home = dir.path().as_os_str().to_owned();
        let env = move |name: &str| match name {
            "A" => Some(OsString::from("from-env")),
            "HOME" => Some(home.clone()),
            _ => None,
        };
        let project = project(text, dir.path());
        let loaded = fetch_secrets(&project, &needs(&["a", "b", "c", "d"]), &env)
            .await
            .unwrap();
        for (name, value) in [
            ("a", "from-env"),
            ("b", "from-file"),
            ("c", "from-file"),
            ("d", "from-file"),
        ] {
            assert_eq!(loaded.get(name).unwrap().value.expose(), value);
        }
    }

    #[tokio::test]
    async fn every_missing_secret_is_listed_with_source_user_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo s3cret-value; echo no s3cret-value here >&2; exit 3";
        let text = format!(
            "[secrets.a]\nenv = \"A\"\n[secrets.b]\nfile = \"nothing\"\n[secrets.c]\n\
             command = [\"sh\", \"-c\", \"{script}\"]\n[secrets.d]\nenv = \"SHORT\"\n\
             [secrets.e]\ncommand = [\"no-such-program\"]\n[secrets.f]\nenv = \"EMPTY\"\n"
        );
        let env = |name: &str| match name {
            "SHORT" => Some(OsString::from("abc")),
            "EMPTY" => Some(OsString::from("\n")),
            _ => None,
        };
        let project = project(&text, dir.path());
        let names = needs(&["a", "b", "c", "d", "e", "f", "g"]);
        let missing = fetch_secrets(&project, &names, &env).await.unwrap_err();
        assert_eq!(
            missing[0].to_string(),
            "secret `a` (environment variable A, needed by plugin `p`): it is not set\n  help: \
             export A=… and run again, or give [secrets.a] another source in vdeploy.toml"
        );
        assert!(missing[1].problem.contains("No such file"));
        assert_eq!(
            missing[2].problem,
            "it failed with exit status: 3: no *** here"
        );
        assert!(missing[3].problem.starts_with("it has 3 characters"));
        assert!(missing[4].problem.starts_with("it cannot be started"));
        assert_eq!(missing[5].problem, "it is empty");
        assert_eq!(missing[6].from, "not in the project");
    }

    #[tokio::test]
    async fn a_command_has_no_standard_input_to_wait_for() {
        let dir = tempfile::tempdir().unwrap();
        let project = project("[secrets.a]\ncommand = [\"cat\"]\n", dir.path());
        let missing = fetch_secrets(&project, &needs(&["a"]), &|_| None)
            .await
            .unwrap_err();
        assert_eq!(missing[0].problem, "it is empty");
    }

    #[tokio::test]
    async fn a_command_that_is_refused_is_not_run_and_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[secrets.b]\nenv = \"B\"\n[secrets.a]\n\
                    command = [\"sh\", \"-c\", \"touch ran; echo value\"]\n";
        let mut project = project(text, dir.path());
        project.refuse_command_secrets();
        let env = |_: &str| Some(OsString::from("from-env"));
        let missing = fetch_secrets(&project, &needs(&["a", "b"]), &env)
            .await
            .unwrap_err();
        assert_eq!(missing.len(), 1, "{missing:?}");
        let said = missing[0].to_string();
        assert!(said.contains("secret `a`"), "{said}");
        assert!(
            said.contains("vdeploy.toml:4:1: the command was not run"),
            "{said}"
        );
        assert!(!dir.path().join("ran").exists());
        let loaded = fetch_secrets(&project, &needs(&["b"]), &env).await;
        assert_eq!(loaded.unwrap().get("b").unwrap().value.expose(), "from-env");
    }

    #[test]
    fn a_run_needs_what_its_plugins_grants_name_and_the_api_key() {
        let project = Project::builtin().unwrap();
        let plan = project.plan(&"default".into()).unwrap();
        let (name, target) = project.target(None).unwrap();
        let needs = SecretNeeds::of_run(&project, plan, name, target);
        assert_eq!(needs.0["vers-api-key"], ["target `infra`"]);
        assert!(needs.0["auth-token"].contains(&"plugin `restart`".to_owned()));
    }
}
