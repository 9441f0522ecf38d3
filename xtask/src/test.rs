//! `cargo xtask test [-- ARGS]`: sets up what the tests need, builds the
//! plugins and the programs, runs every test of the workspace.

use anyhow::Result;

use crate::command::{self, heading};
use crate::fixtures;
use crate::plugins;
use crate::setup;
use crate::workspace::Workspace;

/// Runs the tests; `args` are passed on to `cargo test`.
///
/// # Errors
/// When something is missing, does not build, or a test fails; a failed
/// program's exit code is kept.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    heading("setup");
    setup::everything(workspace)?;
    heading("plugins");
    plugins::build(workspace)?;
    fixtures::build(workspace)?;
    // The end-to-end tests start the program. It is built together with the
    // tests, so that every dependency is compiled once, with one set of
    // features.
    heading("build");
    command::run(
        command::cargo(&workspace.root)
            .args(["build", "--locked", "--bins", "--tests"])
            .args(packages(args)),
    )?;
    heading("tests");
    command::run(
        command::cargo(&workspace.root)
            .args(["test", "--locked"])
            .args(all_unless_chosen(args))
            .args(args),
    )
}

/// What the build before the tests covers: the whole workspace, or the chosen
/// packages and the program that their tests may start.
fn packages(args: &[String]) -> Vec<String> {
    let chosen = chosen(args);
    if chosen.is_empty() {
        return vec!["--workspace".to_owned()];
    }
    chosen
        .into_iter()
        .chain(["vdeploy".to_owned()])
        .map(|name| format!("--package={name}"))
        .collect()
}

fn all_unless_chosen(args: &[String]) -> Option<&'static str> {
    chosen(args).is_empty().then_some("--workspace")
}

/// The packages that `cargo test` arguments choose.
fn chosen(args: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == "-p" || arg == "--package" {
            names.extend(args.next().cloned());
        } else if let Some(name) = arg.strip_prefix("--package=") {
            names.push(name.to_owned());
        } else if let Some(name) = arg.strip_prefix("-p").filter(|_| !arg.starts_with("--")) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn without_a_chosen_package_it_is_the_workspace() {
        for args in ["", "journal", "--lib journal -- --nocapture -p"] {
            assert_eq!(
                all_unless_chosen(&words(args)),
                Some("--workspace"),
                "{args}"
            );
            assert_eq!(packages(&words(args)), ["--workspace"], "{args}");
        }
    }

    #[test]
    fn chosen_packages_take_the_place_of_the_workspace() {
        for args in [
            "-p xtask a",
            "-pxtask",
            "--package xtask",
            "--package=xtask",
        ] {
            assert_eq!(all_unless_chosen(&words(args)), None, "{args}");
            assert_eq!(
                packages(&words(args)),
                ["--package=xtask", "--package=vdeploy"],
                "{args}"
            );
        }
    }
}
