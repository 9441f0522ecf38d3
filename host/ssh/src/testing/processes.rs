//! Inspects processes of this machine.

use std::path::Path;
use std::time::Duration;
use vdeploy_core::backoff::Backoff;

/// Waits until `true`, for as long as a slow machine may need.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let mut backoff = Backoff::up_to(Duration::from_millis(200));
    for _ in 0..300 {
        if holds() {
            return;
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
    panic!("{what} did not come true");
}

/// Whether the process runs; one that only waits to be reaped does not.
pub fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Waits until the process is gone (or only waits to be reaped).
pub async fn gone(pid: &str) -> bool {
    let mut backoff = Backoff::up_to(Duration::from_millis(200));
    for _ in 0..100 {
        if !runs(pid) {
            return true;
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
    false
}

/// The pids of all processes.
fn all() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .collect()
}

/// Those whose parent is `parent`.
pub fn children_of(parent: &str) -> Vec<String> {
    all()
        .into_iter()
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned());
            after.is_some_and(|rest| rest.split(' ').nth(1) == Some(parent))
        })
        .collect()
}

/// Signals exactly this process.
pub fn kill(pid: &str, signal: &str) {
    let _ = std::process::Command::new("kill")
        .args(["-s", signal, pid])
        .status()
        .unwrap();
}

/// Those with `text` among their arguments.
pub fn with_argument(text: &str) -> Vec<String> {
    let has = |pid: &String| {
        let args = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&args).contains(text)
    };
    all().into_iter().filter(has).collect()
}

/// Whether a file below `dir` has `text` in its name or content.
pub fn is_in_files(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return is_in_files(&path, text);
        }
        let content = std::fs::read(&path).unwrap_or_default();
        let content = String::from_utf8_lossy(&content).into_owned();
        content.contains(text) || path.to_string_lossy().contains(text)
    })
}
