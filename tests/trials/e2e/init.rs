//! `vdeploy init` writes a project file with which a deploy goes through.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use vdeploy_tests::base::APP;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "init::a_deploy_goes_through_with_its_file", deploy);
    crate::e2e::test(add, "init::every_kind_of_file_can_be_used_at_once", kinds);
}

/// `vdeploy ARGS` in a directory without a project file.
fn vdeploy_in(site: &Site<'_>, dir: &Path, args: &[&str]) -> Result<Ran> {
    let output = site.command(args).current_dir(dir).output()?;
    Ok(output.into())
}

fn deploy(base: &Base) -> Result<()> {
    let site = base.bare_site()?;
    let dir = site.dir().join("fresh");
    std::fs::create_dir_all(&dir)?;
    let cloud = base.cloud_dir().display().to_string();
    for full in [&["--force"][..], &["--force", "--full-plan"]] {
        let mut init = vec![
            "init",
            "--cloud",
            &cloud,
            "--vm",
            &site.vm,
            "--app-dir",
            APP,
        ];
        init.extend(full);
        vdeploy_in(&site, &dir, &init)?
            .expect_code(0)?
            .expect_text("vdeploy doctor")?;
        vdeploy_in(&site, &dir, &["plan", "check"])?.expect_code(0)?;
        vdeploy_in(&site, &dir, &["doctor"])?.expect_code(0)?;
    }
    vdeploy_in(&site, &dir, &["run"])?.expect_code(0)?;
    ensure!(
        site.version().as_deref() == Some("1.0.0"),
        "{:?}",
        site.version()
    );
    Ok(())
}

fn kinds(base: &Base) -> Result<()> {
    let site = base.bare_site()?;
    let dir = site.dir().join("kinds");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join("vdeploy.toml");
    let refused = |args: &[&str], says: &str| -> Result<()> {
        vdeploy_in(&site, &dir, args)?
            .expect_code(2)?
            .expect_text(says)?;
        Ok(())
    };
    refused(&["init", "--vm", "not an id"], "is not a VM id")?;
    refused(
        &["init", "--target", "vers", "--cloud", "x"],
        "--cloud has no meaning",
    )?;
    ensure!(!file.exists());
    for args in [
        &["init"][..],
        &["init", "--vm", "12d4a14f-9338-4f29-842e-6432632dc4f5"],
        &[
            "init",
            "--target",
            "vers",
            "--vm-env",
            "INFRA_VM",
            "--ref",
            "production",
        ],
        &["init", "--target", "local", "--app-dir", "/srv/it's here"],
        &["init", "--host", "db.example.com", "--user", "deploy"],
        &["init", "--host", "db", "--full-plan"],
        &["init", "--target", "local", "--full-plan"],
    ] {
        vdeploy_in(&site, &dir, args)?.expect_code(0)?;
        vdeploy_in(&site, &dir, &["plan", "check"])?.expect_code(0)?;
        refused(args, "is there already")?;
        std::fs::remove_file(&file).context("it was written")?;
    }
    Ok(())
}
