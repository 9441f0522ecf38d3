//! A secret value never appears where it must not.

use crate::Add;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vdeploy_tests::Base;
use vdeploy_tests::base::TOKEN;

pub fn add(add: &mut Add<'_>) {
    crate::test(add, "secrets::nowhere_in_output_state_or_argv", nowhere);
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
    let ran = vdeploy_tests::Ran::from(output).expect_code(11)?;
    ensure!(
        !ran.text().contains(TOKEN),
        "in the output:\n{}",
        ran.text()
    );
    clean(&site.dir().join("junit.xml"))?;
    clean(&site.state())?;
    let show = site.vdeploy(&["runs", "show", "--json"])?.expect_code(0)?;
    ensure!(
        !show.text().contains(TOKEN),
        "in the journal:\n{}",
        show.text()
    );
    let logs = site.home(&site.vm)?;
    clean(&logs.join("../tmp"))
}

/// No file at or below `path` has the token in it.
fn clean(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            clean(&entry?.path())?;
        }
        return Ok(());
    }
    if !path.is_file() {
        return Ok(());
    }
    let bytes = std::fs::read(path)?;
    let found = bytes.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes());
    ensure!(!found, "the token is in {}", path.display());
    Ok(())
}
