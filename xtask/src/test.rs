//! `cargo xtask test [--all] [ARGS]`: sets up what the tests need, builds the
//! plugins and the programs, and runs the tests: those that `cargo test ARGS`
//! chooses, or else all of the short run.

use anyhow::Result;

use crate::command::{self, heading};
use crate::fixtures;
use crate::plugins;
use crate::setup;
use crate::suite;
use crate::workspace::Workspace;

/// Runs the tests; `args` are passed on to `cargo test`. With `all` those run
/// too that are not in the short run.
///
/// # Errors
/// When something is missing, does not build, or a test fails; a failed
/// program's exit code is kept.
pub fn run(workspace: &Workspace, all: bool, args: &[String]) -> Result<()> {
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
            .args(["build", "--locked", "--bins", "--tests", "--examples"])
            .args(packages(args)),
    )?;
    heading("tests");
    if args.is_empty() {
        return suite::run(workspace, all);
    }
    command::run(
        command::cargo(&workspace.root)
            .args(["test", "--locked"])
            .args(all_unless_chosen(args))
            .args(args)
            .args(with_ignored(all, args)),
    )
}

/// What asks a test program for the tests that are not in the short run.
fn with_ignored(all: bool, args: &[String]) -> &'static [&'static str] {
    match (all, args.iter().any(|arg| arg == "--")) {
        (false, _) => &[],
        (true, true) => &["--include-ignored"],
        (true, false) => &["--", "--include-ignored"],
    }
}

/// What the build before the tests covers: the whole workspace, or the chosen
/// packages and those of the programs that their tests may start: `vdeploy`, and
/// the example of what embeds it.
fn packages(args: &[String]) -> Vec<String> {
    let chosen = chosen(args);
    if chosen.is_empty() {
        return vec!["--workspace".to_owned()];
    }
    chosen
        .into_iter()
        .chain(["vdeploy", "vdeploy-ops"].map(str::to_owned))
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
    fn all_reaches_the_test_programs() {
        assert!(with_ignored(false, &words("a -- b")).is_empty());
        assert_eq!(with_ignored(true, &words("a -- b")), ["--include-ignored"]);
        assert_eq!(with_ignored(true, &words("a")), ["--", "--include-ignored"]);
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
                [
                    "--package=xtask",
                    "--package=vdeploy",
                    "--package=vdeploy-ops"
                ],
                "{args}"
            );
        }
    }
}
