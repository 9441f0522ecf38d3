//! `cargo xtask bench [ARGS]`: a whole deploy beside the same by hand, then the
//! benchmarks of the host, which embed the plugins as a release does, and of what
//! a run pays to a target.

use std::os::unix::fs::MetadataExt as _;

use anyhow::Result;

use crate::command;
use crate::fixtures;
use crate::plugins;
use crate::setup;
use crate::workspace::Workspace;

/// The whole deploy. It is a benchmark of the tests' package, whose platform it
/// uses.
const DEPLOY: &str = "deploy";

/// Runs the benchmarks; `args` are passed on to `cargo bench`.
///
/// # Errors
/// When something is missing, does not build, or a benchmark fails.
pub fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    setup::everything(workspace)?;
    plugins::build(workspace)?;
    fixtures::build(workspace)?;
    let named = named(args);
    let bench = |more: &[&str]| {
        let mut bench = command::cargo(&workspace.root);
        bench.args(["bench", "--locked"]).args(more).args(args);
        command::run(&mut bench)
    };
    if named.is_empty() && !is_root() {
        println!("the whole deploy is not measured: its machines of Linux namespaces need root");
    } else if named.is_empty() || named.contains(&DEPLOY) {
        let mut build = command::cargo(&workspace.root);
        build.args([
            "build",
            "--locked",
            "--profile",
            "bench",
            "--bin",
            "vdeploy",
        ]);
        command::run(&mut build)?;
        let which: &[&str] = match named.is_empty() {
            true => &["--package", "vdeploy-tests", "--bench", DEPLOY],
            false => &["--package", "vdeploy-tests"],
        };
        bench(which)?;
    }
    let of_the_host: &[&str] = &["--package", "vdeploy-ops", "--package", "vdeploy"];
    match named.is_empty() {
        true => bench(&[of_the_host, &["--bench", "host", "--bench", "target"]].concat()),
        false if named.contains(&DEPLOY) => Ok(()),
        false => bench(of_the_host),
    }
}

/// The benchmarks that `--bench` names.
fn named(args: &[String]) -> Vec<&str> {
    let ours = args.iter().take_while(|arg| *arg != "--");
    let pairs = ours.clone().zip(ours.skip(1));
    let values = pairs.filter(|(option, _)| *option == "--bench");
    values.map(|(_, value)| value.as_str()).collect()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_named_before_the_dashes_only() {
        let args = ["--bench", "deploy", "--", "--quick", "--bench", "row"].map(str::to_owned);
        assert_eq!(named(&args), ["deploy"]);
        assert!(named(&["--".to_owned(), "row".to_owned()]).is_empty());
    }
}
