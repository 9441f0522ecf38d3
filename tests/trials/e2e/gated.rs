//! A deploy that stands still in the middle of its build until it is let go,
//! and what it comes to when nothing goes wrong.

use crate::e2e::counted::{Counted, Counts};
use crate::e2e::cut::kind;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use vdeploy_tests::{Base, Ran, Site, fixtures};

/// The version that is deployed.
pub const NEW: &str = "2.0.0";

/// Holds up the build on a site's VM.
pub struct Gate(PathBuf);

impl Gate {
    /// Pushes a version whose build waits for this gate.
    pub fn push(site: &Site<'_>) -> Result<Self> {
        let go = site.dir().join("go");
        let package = std::fs::read_to_string(fixtures().join("agent-services/package.json"))?;
        let build = format!(
            "\"build\": \"while [ ! -e '{}' ]; do sleep 0.1; done; tsc\"",
            go.display()
        );
        let gated = package.replace("\"build\": \"tsc\"", &build);
        ensure!(gated != package, "{package}");
        let version = format!("export const VERSION: string = \"{NEW}\";\n");
        let files = [("package.json", &*gated), ("src/version.ts", &*version)];
        site.remote.push_files("gated", &files)?;
        Ok(Self(go))
    }

    /// Lets it go, now and for ever.
    pub fn open(&self) -> Result<()> {
        Ok(std::fs::write(&self.0, "")?)
    }
}

/// The deploy, as a command.
pub fn deploy(site: &Site<'_>) -> Command {
    site.command(&["run", "--json", "--set", "smoke.stable-seconds=0"])
}

/// What it comes to when nothing goes wrong. Found once.
pub fn whole(base: &Base) -> Result<&'static Counts> {
    static WHOLE: OnceLock<Result<Counts, String>> = OnceLock::new();
    let found = WHOLE.get_or_init(|| run_whole(base).map_err(|e| format!("{e:?}")));
    found.as_ref().map_err(|e| anyhow::anyhow!("{e}"))
}

fn run_whole(base: &Base) -> Result<Counts> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    Gate::push(&site)?.open()?;
    Ran::from(deploy(&site).output()?).expect_code(0)?;
    let counts = world.counts(&site.vm)?;
    let seen = |name: &&str| counts.get(name).is_some_and(|count| *count > 0);
    let each = ["checkouts", "npm run build", "service starts", "commits"];
    ensure!(each.iter().all(seen), "not counted: {counts:?}");
    Ok(counts)
}

/// The command of the build is about to run.
pub fn builds(event: &Value) -> bool {
    let action = event.get("action").and_then(Value::as_str).unwrap_or("");
    kind(event) == "call-started" && action.contains("npm run build")
}

/// The new version is live, all of it was done once, and nobody has the target.
pub fn done_once(base: &Base, world: &Counted<'_, '_>, site: &Site<'_>) -> Result<()> {
    ensure!(
        site.version().as_deref() == Some(NEW),
        "{:?}",
        site.version()
    );
    let (counts, whole) = (world.counts(&site.vm)?, whole(base)?);
    ensure!(
        counts == *whole,
        "counted {counts:?}, and undisturbed {whole:?}"
    );
    crate::e2e::hold::lease_is_free(site)
}
