//! A program that embeds the library: the example of the package.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::process::Command;
use vdeploy_tests::base::TOKEN;
use vdeploy_tests::{Base, Ran, binary, kept};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "embed::the_example_deploys_and_prints_events", example);
}

fn example(base: &Base) -> Result<()> {
    let site = base.site()?;
    let version = "export const VERSION: string = \"2.0.0\";\n";
    site.remote
        .push_files("next", &[("src/version.ts", version)])?;
    let example = binary::profile_dir()?.join("examples/deploy");
    let output = Command::new(&example)
        .arg(site.dir().join("vdeploy.toml"))
        .arg(site.state())
        .current_dir(site.dir())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", site.dir())
        .env("VERS_AUTH_TOKEN", TOKEN)
        .envs(kept::plugins()?)
        .output()
        .with_context(|| format!("{}: build it with --examples", example.display()))?;
    let ran = Ran::from(output).expect_code(0)?;
    let mut kinds = Vec::new();
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line)?;
        let kind = event.get("type").and_then(Value::as_str);
        kinds.push(kind.context("an event without a type")?.to_owned());
    }
    ensure!(
        kinds.first().is_some_and(|kind| kind == "run-started")
            && kinds.last().is_some_and(|kind| kind == "run-finished"),
        "{kinds:?}"
    );
    ensure!(!ran.text().contains(TOKEN), "the token is printed");
    // The program finds the run of the library.
    let list = site.vdeploy(&["runs", "list", "--json"])?.expect_code(0)?;
    let list: Value = serde_json::from_str(&list.stdout)?;
    let outcome = list.pointer("/runs/0/outcome");
    ensure!(outcome == Some(&Value::from("deployed")), "{list}");
    let live = site.version();
    ensure!(live.as_deref() == Some("2.0.0"), "{live:?} is live");
    Ok(())
}
