//! `cargo xtask wit-check`: the contract in wit/ is valid, documented, and
//! still serves every plugin built against its last release, which is the git
//! tag `wit-VERSION`. The rules are in wit/README.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use wit_component::semver_check;
use wit_parser::{
    Docs, Interface, PackageId, Resolve, SourceMap, TypeDefKind, TypeId, TypeOwner, World,
    WorldItem,
};

use crate::command;
use crate::workspace::Workspace;

/// The files of one version of the contract: path and text.
type Files = Vec<(String, String)>;

/// Checks the contract of the checkout.
///
/// # Errors
/// When it is not valid, lacks a doc comment, or breaks a released plugin;
/// every finding is named.
pub fn run(workspace: &Workspace) -> Result<()> {
    let now = of_checkout(&workspace.root.join("wit"))?;
    let (resolve, package) = load(&now)?;
    report("these need a doc comment", undocumented(&resolve, package))?;
    report(
        "these are in no world, so no release is compared for them",
        outside_of_worlds(&resolve, package),
    )?;
    let package = resolve
        .packages
        .get(package)
        .context("the package is there")?;
    eprintln!(
        "wit: {} is valid, {} interfaces and {} worlds, all documented",
        package.name,
        package.interfaces.len(),
        package.worlds.len()
    );
    let Some(tag) = last_release(&workspace.root)? else {
        eprintln!("wit: no tag `wit-*` here, so there is no release to compare with");
        return Ok(());
    };
    let released = of_tag(&workspace.root, &tag)?;
    report(
        &format!("this breaks plugins built against {tag} (see wit/README.md)"),
        breaks(&released, &now)?,
    )?;
    eprintln!("wit: every plugin built against {tag} still links");
    Ok(())
}

fn report(what: &str, findings: Vec<String>) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{what}:\n  {}", findings.join("\n  "))
}

fn of_checkout(dir: &Path) -> Result<Files> {
    let mut files = Vec::new();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    Ok(files)
}

/// The newest release tag that this commit descends from.
fn last_release(root: &Path) -> Result<Option<String>> {
    let tags = command::output(Command::new("git").arg("-C").arg(root).args([
        "tag",
        "--list",
        "wit-*",
        "--merged",
        "HEAD",
        "--sort=-version:refname",
    ]))?;
    Ok(tags.lines().next().map(str::to_owned))
}

fn of_tag(root: &Path, tag: &str) -> Result<Files> {
    let git = |args: &[&str]| command::output(Command::new("git").arg("-C").arg(root).args(args));
    let listed = git(&["ls-tree", "--name-only", tag, "wit/"])?;
    let mut files = Vec::new();
    for path in listed.lines().filter(|path| path.ends_with(".wit")) {
        let text = git(&["show", &format!("{tag}:{path}")])?;
        files.push((format!("{tag}:{path}"), text));
    }
    if files.is_empty() {
        bail!("the release {tag} has no wit/*.wit");
    }
    Ok(files)
}

fn load(files: &Files) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve {
        all_features: true,
        ..Resolve::default()
    };
    let package = push(&mut resolve, files, false)?;
    Ok((resolve, package))
}

/// Adds a version of the contract. Two versions of it fit into one `Resolve`
/// only when one has lost its number.
fn push(resolve: &mut Resolve, files: &Files, without_number: bool) -> Result<PackageId> {
    let mut sources = SourceMap::default();
    for (path, text) in files {
        sources.push_str(path, text.as_str());
    }
    let mut group = sources
        .parse()
        .map_err(|(sources, error)| anyhow!("{}", error.render(&sources)))?;
    if group.main.name.version.is_none() {
        bail!("{}: the package needs a version", group.main.name);
    }
    if without_number {
        group.main.name.version = None;
    }
    resolve
        .push_group(group)
        .map_err(|error| anyhow!("{}", error.render(&resolve.source_map)))
}

/// Why a plugin built against `released` would not link with `now`; empty when
/// it links. World by world: `now` may import more and export less.
fn breaks(released: &Files, now: &Files) -> Result<Vec<String>> {
    let mut resolve = Resolve::default();
    let released = push(&mut resolve, released, true)?;
    let now = push(&mut resolve, now, false)?;
    let worlds = |package: PackageId| {
        resolve
            .packages
            .get(package)
            .map(|package| &package.worlds)
            .context("a package that was just added")
    };
    let mut findings = Vec::new();
    for (name, old) in worlds(released)? {
        match worlds(now)?.get(name) {
            None => findings.push(format!("world {name}: it is gone")),
            Some(new) => {
                if let Err(error) = semver_check(resolve.clone(), *old, *new) {
                    findings.push(format!("world {name}: {error:#}"));
                }
            }
        }
    }
    Ok(findings)
}

/// Everything in the package that has no doc comment.
fn undocumented(resolve: &Resolve, package: PackageId) -> Vec<String> {
    let mut findings = Vec::new();
    let mut look = |docs: &Docs, what: String| {
        if docs.is_empty() {
            findings.push(what);
        }
    };
    for interface in interfaces(resolve, package) {
        let name = interface.name.as_deref().unwrap_or("?");
        look(&interface.docs, format!("interface {name}"));
        for (type_name, id) in &interface.types {
            if is_own(resolve, *id) {
                let docs = resolve.types.get(*id).map(|item| item.docs.clone());
                look(
                    &docs.unwrap_or_default(),
                    format!("type {name}.{type_name}"),
                );
            }
        }
        for (function, item) in &interface.functions {
            look(
                &item.docs,
                format!("function {name}.{}", readable(function)),
            );
        }
    }
    for world in worlds(resolve, package) {
        look(&world.docs, format!("world {}", world.name));
    }
    findings
}

/// Interfaces that no world of the package imports or exports.
fn outside_of_worlds(resolve: &Resolve, package: PackageId) -> Vec<String> {
    let mut inside = Vec::new();
    for world in worlds(resolve, package) {
        for item in world.imports.values().chain(world.exports.values()) {
            if let WorldItem::Interface { id, .. } = item {
                inside.push(*id);
            }
        }
    }
    let Some(package) = resolve.packages.get(package) else {
        return Vec::new();
    };
    package
        .interfaces
        .iter()
        .filter(|(_, id)| !inside.contains(id))
        .map(|(name, _)| format!("interface {name}"))
        .collect()
}

fn interfaces(resolve: &Resolve, package: PackageId) -> impl Iterator<Item = &Interface> {
    resolve
        .interfaces
        .iter()
        .map(|(_, interface)| interface)
        .filter(move |interface| interface.package == Some(package))
}

fn worlds(resolve: &Resolve, package: PackageId) -> impl Iterator<Item = &World> {
    resolve
        .worlds
        .iter()
        .map(|(_, world)| world)
        .filter(move |world| world.package == Some(package))
}

/// False for a name that `use` brought in from another interface.
fn is_own(resolve: &Resolve, id: TypeId) -> bool {
    let owner = |id: TypeId| -> Option<TypeOwner> { resolve.types.get(id).map(|item| item.owner) };
    match resolve.types.get(id).map(|item| &item.kind) {
        Some(TypeDefKind::Type(wit_parser::Type::Id(other))) => owner(id) == owner(*other),
        _ => true,
    }
}

/// `[method]request.header` as a person writes it.
fn readable(function: &str) -> String {
    match function.split_once(']') {
        Some(("[constructor", resource)) => format!("{resource}.constructor"),
        Some((_, name)) => name.to_owned(),
        None => function.to_owned(),
    }
}

#[cfg(test)]
mod tests;
