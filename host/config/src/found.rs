//! A project file that was found by searching upwards. Whoever can write it
//! decides what runs as the caller, so it counts only when it belongs to
//! somebody whom the caller trusts by being here; so do the files of it that
//! run. A file that was named with `--project` is not judged: naming it is the
//! caller's word.

use crate::plugins::PluginSource;
use crate::project::{FILE_NAME, Project};
use crate::read::span::{ConfigError, Problem};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use vdeploy_files::{Judge, Untrusted};

/// The nearest file of that name, from `cwd` upwards. What is there and is no
/// readable file counts too: none further up is taken in its place.
pub(super) fn nearest(cwd: &Path) -> Option<PathBuf> {
    let files = cwd.ancestors().map(|dir| dir.join(FILE_NAME));
    files
        .into_iter()
        .find(|file| match file.symlink_metadata() {
            Ok(seen) => !seen.is_dir(),
            Err(_) => false,
        })
}

/// Whom to trust in this directory: the caller, root, and the directory's owner.
fn judge(cwd: &Path) -> Judge {
    match cwd.metadata() {
        Ok(seen) => Judge::of_process().and(seen.uid()),
        Err(_) => Judge::of_process(),
    }
}

/// Opens it, when it may count.
pub(super) fn open(file: &Path, cwd: &Path) -> Result<File, ConfigError> {
    let shown = file.display();
    match judge(cwd).open_found(file) {
        Ok(Ok(open)) => Ok(open),
        Ok(Err(found)) => Err(refused(file, &found)),
        Err(error) => Err(Problem::nowhere(format!("{shown} cannot be read: {error}"))
            .help(format!(
                "make {shown} readable, or name another file with --project"
            ))
            .into()),
    }
}

fn refused(file: &Path, found: &Untrusted) -> ConfigError {
    let shown = file.display();
    let quoted = file.to_string_lossy();
    let quoted = shlex::try_quote(&quoted).unwrap_or(quoted.clone());
    let mut help = format!(
        "a project file is code: it says which programs run here as you. If you trust this one, \
         name it: --project {quoted}, or VDEPLOY_PROJECT={quoted}"
    );
    if let Some(mend) = found.mend() {
        help.push_str(&format!("; or mend it: {mend}"));
    }
    Problem::nowhere(format!(
        "{shown} was found by searching upwards and is not used: {found}"
    ))
    .help(help)
    .into()
}

/// The files that the project names and that run: plugins whose bytes are not
/// pinned, and OpenSSH configurations, which can start a `ProxyCommand`.
pub(super) fn judge_named(project: &Project, cwd: &Path) -> Result<(), ConfigError> {
    let judge = judge(cwd);
    let mut problems = Vec::new();
    for (name, plugin) in &project.plugins {
        if let (PluginSource::Path(path), None) = (&plugin.source, &plugin.digest)
            && let Err(found) = judge.named_file(path)
        {
            let message = format!("the file of plugin `{name}` is not used: {found}");
            let pin = "pin its bytes with `digest = \"sha256:…\"`";
            problems.push(Problem::at(&plugin.place, message).help(or_mend(pin, &found)));
        }
    }
    for (name, target) in &project.targets {
        if let Some((key, path, place)) = target.kind().program_file()
            && let Err(found) = judge.named_file(path)
        {
            let message = format!("the `{key}` of target `{name}` is not used: {found}");
            let pin = "name a file that only you can write";
            problems.push(Problem::at(place, message).help(or_mend(pin, &found)));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(ConfigError::new(problems)),
    }
}

fn or_mend(other: &str, found: &Untrusted) -> String {
    let named = "name the project file with --project if you trust all that it names";
    match found.mend() {
        Some(mend) => format!("{mend}, {other}, or {named}"),
        None => format!("{other}, or {named}"),
    }
}
