//! Builds that last as long as a test wants.

use crate::e2e::counted::Counted;
use crate::e2e::cut::kind;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vdeploy_tests::Site;
use vdeploy_tests::base::wait_for;

/// The script that waits; it is in the command line of its process.
const WAITS: &str = "waits.mjs";

/// Pushes version 2.0.0 with a build that waits until a file is there, which is
/// returned, and then goes its way.
pub fn push_waiting(site: &Site<'_>) -> Result<PathBuf> {
    let go = site.dir().join("let-the-build-go-on");
    let fixture = |path| std::fs::read_to_string(vdeploy_tests::fixtures().join(path));
    let package = fixture("agent-services/package.json")?;
    let version = fixture("variants/good-v2/src/version.ts")?;
    let waiting = package.replace(
        "\"build\": \"tsc\"",
        &format!("\"build\": \"node {WAITS} && tsc\""),
    );
    ensure!(waiting != package, "{package}");
    let script = format!(
        "import {{ existsSync }} from \"node:fs\";\nconst again = setInterval(() => {{\n  \
         if (existsSync({:?})) clearInterval(again);\n}}, 100);\n",
        go.to_string_lossy()
    );
    let files = [
        ("package.json", &*waiting),
        (WAITS, &*script),
        ("src/version.ts", &*version),
    ];
    site.remote.push_files("a build that waits", &files)?;
    Ok(go)
}

/// Whether an event says that the build begins; then its process is waited for
/// and kept.
pub fn waits<'a>(
    world: &'a Counted<'_, '_>,
    pid: &'a mut Option<String>,
) -> impl FnMut(&Value) -> bool + 'a {
    move |event| {
        let action = event.get("action").and_then(Value::as_str).unwrap_or("");
        let begins = kind(event) == "call-started" && action.contains("npm run build");
        if begins {
            let limit = Duration::from_secs(60);
            *pid = wait_for("the build", limit, || world.process(WAITS)).ok();
        }
        begins
    }
}

/// Whether the process is there and is that of the build.
pub fn still_waits(pid: &str) -> bool {
    let command = std::fs::read_to_string(Path::new("/proc").join(pid).join("cmdline"));
    command.is_ok_and(|command| command.contains(WAITS))
}
