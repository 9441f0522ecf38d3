//! A snapshot by a plugin of the plan: archives of the checkout on the target
//! itself, and the way back from them on the same machine.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::PathBuf;
use vdeploy_tests::base::{TOKEN, text};
use vdeploy_tests::{Base, Site};

/// What a project says for a target that takes no snapshots.
const PROJECT: &str = r#"
[plans.default]
extends = "default-ssh"
[plans.rollback]
extends = "rollback-ssh"
"#;

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "archive::a_failed_deploy_goes_back_to_it", failing);
    crate::e2e::test(add, "archive::a_deploy_is_taken_back_later", later);
    crate::e2e::test(add, "archive::a_full_disk_ends_the_run_unchanged", no_room);
}

fn site<'a>(base: &'a Base) -> Result<Site<'a>> {
    let site = base.site()?;
    site.write_project(PROJECT)?;
    site.add_task("keep me")?;
    Ok(site)
}

/// The version from before is live, with its data, its token and its VM.
fn is_back(site: &Site<'_>) -> Result<()> {
    let version = site.version();
    ensure!(version.as_deref() == Some("1.0.0"), "{version:?} is live");
    let (status, board) = site.get(&site.vm, "/board/tasks", Some(TOKEN))?;
    ensure!(
        status == 200 && board.contains("keep me"),
        "{status} {board}"
    );
    let (status, _) = site.get(&site.vm, "/board/tasks", None)?;
    ensure!(status == 401, "open after the rollback: {status}");
    Ok(())
}

/// The directories that restores have replaced.
fn replaced(site: &Site<'_>) -> Result<Vec<PathBuf>> {
    let app = site.app_dir()?;
    let mut found = Vec::new();
    for entry in fs::read_dir(app.parent().context("no parent")?)? {
        let path = entry?.path();
        if path.to_string_lossy().contains(".before-restore-") {
            found.push(path);
        }
    }
    Ok(found)
}

fn failing(base: &Base) -> Result<()> {
    let site = site(base)?;
    let head = site.head()?;
    // Data that the broken version has spoilt comes back too.
    site.remote.push_variant("crashes-at-start")?;
    let ran = site
        .deploy(&["--rollback-to", "snapshot"])?
        .expect_code(11)?;
    let taken = ran.event_first("snapshot-taken")?;
    ensure!(text(&taken, "provider")? == "archive", "{taken}");
    let id = text(&taken, "snapshot")?;
    ensure!(ran.event("target-moved").is_err(), "the target moved");
    is_back(&site)?;
    ensure!(site.head()? == head, "another commit is checked out");
    ensure!(replaced(&site)?.len() == 1, "{:?}", replaced(&site)?);
    let run = text(&ran.event("run-finished")?, "run")?;
    site.vdeploy(&["runs", "show", &run])?
        .expect_code(0)?
        .expect_text(&id)?
        .expect_text("by the plugin archive")?;
    // By git the same plan undoes its steps and restores nothing.
    site.deploy(&["--rollback-to", "in-place"])?
        .expect_code(11)?;
    is_back(&site)?;
    ensure!(replaced(&site)?.len() == 1, "{:?}", replaced(&site)?);
    Ok(())
}

fn later(base: &Base) -> Result<()> {
    let site = site(base)?;
    site.remote.push_variant("good-v2")?;
    let ran = site
        .deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    let run = text(&ran.event("run-finished")?, "run")?;
    site.add_task("written since")?;
    let back = site
        .vdeploy(&["rollback", &run, "--to", "snapshot", "--json"])?
        .expect_code(0)?
        // Said before it is done.
        .expect_text("does not have what was written since the run's preflight")?
        .expect_text("the broken state is kept as ")?;
    let events = back.events()?;
    let at = |words: &str| {
        let found = events.iter().position(|e| e.to_string().contains(words));
        found.with_context(|| format!("`{words}` never came:\n{}", back.stdout))
    };
    ensure!(at("does not have what was written")? < at("sh -s -- stop")?);
    is_back(&site)?;
    // What was written since is in the directory that was kept.
    let kept = replaced(&site)?;
    let kept = kept.first().context("nothing was kept")?;
    let mut board = String::new();
    for entry in fs::read_dir(kept.join("data"))? {
        board += &fs::read_to_string(entry?.path()).unwrap_or_default();
    }
    ensure!(board.contains("written since"), "{board}");
    Ok(())
}

fn no_room(base: &Base) -> Result<()> {
    let site = site(base)?;
    site.remote.push_variant("good-v2")?;
    let head = site.head()?;
    site.deploy(&["--set", "snapshot.min-free-mb=900000000"])?
        .expect_code(10)?
        .expect_text("archive.no-space")?;
    ensure!(site.head()? == head);
    is_back(&site)
}
