//! A secret value never appears where it must not.

use crate::e2e::Add;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vdeploy_tests::base::TOKEN;
use vdeploy_tests::{Base, Ran};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(add, "secrets::nowhere_in_output_state_or_argv", nowhere);
    crate::e2e::test(
        add,
        "secrets::a_value_in_the_configuration_is_refused_with_its_place",
        in_config,
    );
    crate::e2e::test(
        add,
        "secrets::an_ordinary_word_is_warned_of_and_stays_readable",
        ordinary,
    );
}

/// Every process's argument list, read over and over while a deploy runs.
fn watch_argv(stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut found = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let Ok(argv) = std::fs::read(entry.path().join("cmdline")) else {
                    continue;
                };
                let argv = String::from_utf8_lossy(&argv).into_owned();
                if argv.contains(TOKEN) {
                    found.push(argv);
                }
            }
        }
        found
    })
}

fn nowhere(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("error-500")?;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch_argv(stop.clone());
    let output = site
        .command(&["run", "--verbose", "--json", "--junit", "junit.xml"])
        .stdin(Stdio::null())
        .output()?;
    stop.store(true, Ordering::SeqCst);
    let argv = watcher
        .join()
        .map_err(|_| anyhow::anyhow!("the watcher panicked"))?;
    ensure!(argv.is_empty(), "in argument lists: {argv:?}");
    let ran = Ran::from(output).expect_code(11)?;
    ensure!(
        !ran.text().contains(TOKEN),
        "in the output:\n{}",
        ran.text()
    );
    clean(&site.dir().join("junit.xml"), TOKEN)?;
    clean(&site.state(), TOKEN)?;
    let show = site.vdeploy(&["runs", "show", "--json"])?.expect_code(0)?;
    ensure!(
        !show.text().contains(TOKEN),
        "in the journal:\n{}",
        show.text()
    );
    let logs = site.home(&site.vm)?;
    clean(&logs.join("../tmp"), TOKEN)
}

fn in_config(base: &Base) -> Result<()> {
    let site = base.site()?;
    // Not the token of the other tests, one of which looks at every argument list.
    let other = format!("other-{}", TOKEN.chars().rev().collect::<String>());
    let set = format!("restart.start=TOKEN={other} npm start");
    let mut command = site.command(&["run", "--set", &set]);
    let by_set = Ran::from(command.env("VERS_AUTH_TOKEN", &other).output()?)
        .expect_code(3)?
        .expect_text("secret.in-config")?
        .expect_text("--set restart.start: ")?
        .expect_text("secret `auth-token`")?;
    ensure!(!by_set.text().contains(&other), "{}", by_set.text());
    clean(&site.state(), &other)?;
    site.write_project(&format!(
        "[plans.default]\nextends = \"default\"\n[[plans.default.step]]\nid = \"restart\"\n\
         [plans.default.step.config]\nstart = \"TOKEN=x{TOKEN}y npm start\"\n"
    ))?;
    for args in [
        &["run", "--plan", "default"][..],
        &["run", "--plan", "default", "--dry-run"],
    ] {
        let ran = site
            .vdeploy(args)?
            .expect_code(3)?
            .expect_text("secret.in-config")?
            .expect_text("vdeploy.toml:11:")?;
        ensure!(!ran.text().contains(TOKEN), "{}", ran.text());
    }
    let doctor = site
        .vdeploy(&["doctor", "--plan", "default"])?
        .expect_text("secret.in-config")?;
    ensure!(!doctor.text().contains(TOKEN), "{}", doctor.text());
    clean(&site.state(), TOKEN)
}

fn ordinary(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.write_project("[secrets.auth-token]\nfile = \"token\"\n")?;
    std::fs::write(site.dir().join("token"), "none\n")?;
    let ran = site.vdeploy(&["run", "--plan", "smoke", "--dry-run"])?;
    let text = ran.text();
    ensure!(
        text.contains("secret `auth-token` (file ") && text.contains("is an ordinary word"),
        "no warning:\n{text}"
    );
    ensure!(!text.contains("***"), "the word was hidden:\n{text}");
    Ok(())
}

/// No file at or below `path` has the token in it.
fn clean(path: &Path, token: &str) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            clean(&entry?.path(), token)?;
        }
        return Ok(());
    }
    if !path.is_file() {
        return Ok(());
    }
    let bytes = std::fs::read(path)?;
    let found = bytes.windows(token.len()).any(|w| w == token.as_bytes());
    ensure!(!found, "the token is in {}", path.display());
    Ok(())
}
