//! `cargo xtask licences`: every crate that is built has an allowed licence,
//! and none is a refused one. Reads deny.toml, the file of cargo-deny, but
//! does not need that program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::workspace::Workspace;

/// What deny.toml says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    /// Triples that releases and plugins are built for.
    targets: Vec<String>,
    /// SPDX identifiers, `WITH` exceptions included.
    allowed: BTreeSet<String>,
    /// Names of crates.
    refused: BTreeSet<String>,
}

/// A crate as `cargo metadata` describes it: name with version, then licence.
type Crates = BTreeMap<(String, String), Option<String>>;

/// Checks all crates of all targets.
///
/// # Errors
/// When a crate is refused or its licence is not allowed; all are named.
pub fn check(workspace: &Workspace) -> Result<()> {
    let file = workspace.root.join("deny.toml");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let rules = Rules::parse(&text).with_context(|| file.display().to_string())?;
    let mut crates = Crates::new();
    for target in &rules.targets {
        let metadata = command::output(command::cargo(&workspace.root).args([
            "metadata",
            "--locked",
            "--format-version=1",
            "--filter-platform",
            target,
        ]))?;
        crates.extend(read_crates(&metadata)?);
    }
    let findings = rules.findings(&crates);
    if !findings.is_empty() {
        bail!(
            "against deny.toml:\n  {}\n\
             `cargo tree --workspace --invert CRATE` shows who needs it",
            findings.join("\n  ")
        );
    }
    eprintln!(
        "licences: {} crates on {} targets, all allowed",
        crates.len(),
        rules.targets.len()
    );
    Ok(())
}

impl Rules {
    fn parse(text: &str) -> Result<Self> {
        let file: toml::Table = text.parse().context("not a TOML file")?;
        let list = |section: &str, key: &str| {
            file.get(section)
                .and_then(|section| section.get(key))
                .and_then(toml::Value::as_array)
                .with_context(|| format!("has no list `{key}` in [{section}]"))
        };
        Ok(Self {
            targets: names(list("graph", "targets")?, "triple")?,
            allowed: names(list("licenses", "allow")?, "license")?
                .into_iter()
                .collect(),
            refused: names(list("bans", "deny")?, "crate")?.into_iter().collect(),
        })
    }

    fn findings(&self, crates: &Crates) -> Vec<String> {
        let mut findings = Vec::new();
        for ((name, version), licence) in crates {
            if self.refused.contains(name) {
                findings.push(format!("{name} {version}: a refused crate"));
            }
            let Some(licence) = licence else {
                findings.push(format!("{name} {version}: names no licence"));
                continue;
            };
            match satisfied(licence, &self.allowed) {
                Ok(true) => {}
                Ok(false) => findings.push(format!(
                    "{name} {version}: licence `{licence}` is not allowed"
                )),
                Err(error) => findings.push(format!("{name} {version}: `{licence}`: {error}")),
            }
        }
        findings
    }
}

/// Names in a list of cargo-deny: text, or a table with the name under `key`.
fn names(list: &[toml::Value], key: &str) -> Result<Vec<String>> {
    list.iter()
        .map(|item| {
            item.as_str()
                .or_else(|| item.get(key)?.as_str())
                .map(str::to_owned)
                .with_context(|| format!("`{item}` is no name and has no `{key}`"))
        })
        .collect()
}

/// The crates that the resolved graph has, which are fewer than the packages
/// that cargo lists.
fn read_crates(metadata: &str) -> Result<Crates> {
    let metadata: Value =
        serde_json::from_str(metadata).context("`cargo metadata` did not print JSON")?;
    let items = |value: &Value, path: &str| -> Result<Vec<Value>> {
        value
            .pointer(path)
            .and_then(Value::as_array)
            .cloned()
            .with_context(|| format!("`cargo metadata` has no list {path}"))
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let used: BTreeSet<String> = items(&metadata, "/resolve/nodes")?
        .iter()
        .filter_map(|node| text(node, "id"))
        .collect();
    let mut crates = Crates::new();
    for package in items(&metadata, "/packages")? {
        let id = text(&package, "id").context("a package without an id")?;
        if used.contains(&id) {
            let name = text(&package, "name").context("a package without a name")?;
            let version = text(&package, "version").context("a package without a version")?;
            crates.insert((name, version), text(&package, "license"));
        }
    }
    Ok(crates)
}

/// Whether an SPDX expression can be met with the allowed licences. `AND`
/// binds closer than `OR`; `/` is the old way to write `OR`.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> Result<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed)?;
    match words.next() {
        None => Ok(met),
        Some(word) => bail!("unexpected `{word}`"),
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool> {
    let mut met = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed)?;
    }
    Ok(met)
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool> {
    let mut met = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed)?;
    }
    Ok(met)
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool> {
    match words.next() {
        Some("(") => {
            let met = any_of(words, allowed)?;
            match words.next() {
                Some(")") => Ok(met),
                _ => bail!("a `(` without its `)`"),
            }
        }
        None | Some(")" | "AND" | "OR" | "WITH") => bail!("a licence is missing"),
        Some(licence) if words.next_if_eq(&"WITH").is_some() => {
            let exception = words.next().context("WITH what?")?;
            Ok(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        Some(licence) => Ok(allowed.contains(licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            r#"
            [graph]
            targets = ["x86_64-unknown-linux-gnu", { triple = "wasm32-unknown-unknown" }]
            [licenses]
            allow = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]
            [bans]
            deny = [{ crate = "openssl-sys", reason = "ring" }, "aws-lc-sys"]
            "#,
        )
        .unwrap()
    }

    #[test]
    fn an_expression_is_met_as_spdx_says() {
        let allowed = rules().allowed;
        for (expression, wanted) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only/MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR GPL-3.0-only) AND ISC", true),
            ("MIT OR GPL-3.0-only AND GPL-2.0-only", true),
            ("(MIT OR GPL-3.0-only) AND GPL-2.0-only", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("MIT WITH LLVM-exception", false),
        ] {
            assert_eq!(
                satisfied(expression, &allowed).unwrap(),
                wanted,
                "{expression}"
            );
        }
        for broken in [
            "", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND MIT", "MIT WITH",
        ] {
            assert!(satisfied(broken, &allowed).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_names_are_read_in_both_forms_of_cargo_deny() {
        let rules = rules();
        assert_eq!(
            rules.targets,
            ["x86_64-unknown-linux-gnu", "wasm32-unknown-unknown"]
        );
        assert!(rules.refused.contains("openssl-sys"));
        assert!(rules.refused.contains("aws-lc-sys"));
        assert!(Rules::parse("[bans]\ndeny = []").is_err());
    }

    #[test]
    fn only_crates_of_the_graph_are_looked_at_and_each_finding_is_named() {
        let crates = read_crates(
            r#"{"packages": [
                {"id": "a", "name": "good", "version": "1.0.0", "license": "MIT"},
                {"id": "b", "name": "unused", "version": "1.0.0", "license": "GPL-3.0-only"},
                {"id": "c", "name": "copyleft", "version": "2.0.0", "license": "GPL-3.0-only"},
                {"id": "d", "name": "silent", "version": "3.0.0", "license": null},
                {"id": "e", "name": "aws-lc-sys", "version": "0.1.0", "license": "ISC"}],
              "resolve": {"nodes": [{"id": "a"}, {"id": "c"}, {"id": "d"}, {"id": "e"}]}}"#,
        )
        .unwrap();
        assert_eq!(
            rules().findings(&crates),
            [
                "aws-lc-sys 0.1.0: a refused crate",
                "copyleft 2.0.0: licence `GPL-3.0-only` is not allowed",
                "silent 3.0.0: names no licence",
            ]
        );
    }

    #[test]
    fn the_rules_of_this_checkout_can_be_read() {
        let rules = Rules::parse(include_str!("../../deny.toml")).unwrap();
        assert!(rules.refused.contains("aws-lc-sys") && rules.refused.contains("openssl-sys"));
        assert!(!rules.targets.is_empty());
    }
}
