//! Third-party plugins: a smoke check and a restart of somebody else, built in
//! crates of their own, run by the unchanged binary.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;
use vdeploy_tests::Base;

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "plugins::a_third_party_check_runs_and_can_fail_the_deploy",
        check,
    );
    crate::e2e::test(
        add,
        "plugins::without_its_grant_a_plugin_is_refused",
        ungranted,
    );
    crate::e2e::test(add, "plugins::restart_is_replaced", replace);
    crate::e2e::test(add, "plugins::inspect_prints_powers", inspect);
    crate::e2e::test(add, "plugins::the_examples_can_be_pasted", pasted);
}

/// A component built by `cargo xtask test` from `tests/fixtures/NAME`.
pub fn component(name: &str) -> Result<PathBuf> {
    let profile = vdeploy_tests::binary::profile_dir()?;
    let target = profile.parent().context("no target directory")?;
    let path = target.join("vdeploy-fixtures").join(format!("{name}.wasm"));
    ensure!(
        path.is_file(),
        "{} is not built; run the tests with `cargo xtask test`",
        path.display()
    );
    Ok(path)
}

fn project(grants: &str, expect: &str) -> Result<String> {
    Ok(format!(
        r#"
[plugins.version-check]
path = "{}"
{grants}

[plans.default]
extends = "default"
[[plans.default.step]]
id = "version-check"
plugin = "version-check"
after = "smoke"
[plans.default.step.config]
expect = "{expect}"
"#,
        component("version-check")?.display()
    ))
}

const GRANT: &str = "[plugins.version-check.grants]\nhttp = [\"GET target/version\"]";

fn check(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    site.write_project(&project(GRANT, "3.0.0")?)?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(11)?
        .expect_text("3.0.0")?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    site.write_project(&project(GRANT, "2.0.0")?)?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("2.0.0"),
        "{:?}",
        site.version()
    );
    Ok(())
}

fn ungranted(base: &Base) -> Result<()> {
    let site = base.site()?;
    let before = site.head()?;
    site.remote.push_variant("good-v2")?;
    site.write_project(&project("", "2.0.0")?)?;
    site.deploy(&[])?
        .expect_code(30)?
        .expect_text("[plugins.version-check.grants]")?
        .expect_text("GET target/version")?;
    ensure!(site.head()? == before && site.version().as_deref() == Some("1.0.0"));
    Ok(())
}

fn replace(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    site.write_project(&format!(
        r#"
[plugins.own-restart]
path = "{}"
[plugins.own-restart.grants]
ssh = ["sh -s **"]
secrets = ["auth-token@ssh"]

[plans.default]
extends = "default"
[[plans.default.step]]
id = "own-restart"
plugin = "own-restart"
replaces = "restart"
"#,
        component("own-restart")?.display()
    ))?;
    let ran = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    let finished = ran.events()?.into_iter().any(|event| {
        event.get("type") == Some(&"step-finished".into())
            && event.get("step") == Some(&"own-restart".into())
    });
    ensure!(finished, "own-restart did not run:\n{}", ran.text());
    ensure!(
        site.version().as_deref() == Some("2.0.0"),
        "{:?}",
        site.version()
    );
    Ok(())
}

fn inspect(base: &Base) -> Result<()> {
    let site = base.site()?;
    let path = component("version-check")?;
    site.vdeploy(&["plugin", "inspect", &path.display().to_string()])?
        .expect_code(0)?
        .expect_text("http")?
        .expect_text("GET target/version")?
        .expect_text("expect")?;
    Ok(())
}

/// The project files of the documents that use version-check, as they stand
/// there, beside a component of that name.
fn pasted(base: &Base) -> Result<()> {
    let site = base.site()?;
    std::fs::copy(
        component("version-check")?,
        site.dir().join("version-check.wasm"),
    )?;
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for document in ["README.md", "docs/plugins.md"] {
        let text = std::fs::read_to_string(top.join(document))?;
        let mut count = 0;
        for block in text.split("```toml\n").skip(1) {
            let (block, _) = block.split_once("```").context("a block is not closed")?;
            if !block.contains("[plugins.version-check]") {
                continue;
            }
            // In a list the block is indented with it.
            let lines: Vec<_> = block.lines().map(str::trim).collect();
            site.write_project(&lines.join("\n"))?;
            site.vdeploy(&["plan", "check", "default"])?
                .expect_code(0)?
                .expect_text("plan default: fine")?;
            count += 1;
        }
        ensure!(count == 1, "{document} has {count} such examples");
    }
    Ok(())
}
