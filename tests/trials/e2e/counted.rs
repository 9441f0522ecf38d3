//! What happened in the world of a site, counted there and not by vdeploy:
//! programs that were started on its VMs, checkouts, snapshots, VMs, and what
//! the service was told.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vdeploy_tests::base::{TOKEN, wait_for};
use vdeploy_tests::{Site, kept};

/// What the programs of a build are called with, and the service.
const PROGRAMS: [(&str, &str); 4] = [
    ("npm ci", "npm ci"),
    ("npm run build", "npm run build"),
    ("tsc", "/tsc"),
    ("service starts", "dist/server.js"),
];

/// How often each change happened.
pub type Counts = BTreeMap<&'static str, usize>;

/// A site whose world counts.
pub struct Counted<'s, 'b> {
    site: &'s Site<'b>,
    log: PathBuf,
}

impl<'s, 'b> Counted<'s, 'b> {
    /// From now on every `node` on the site's VM, and on those that are
    /// restored from it, is counted, and every checkout of git.
    pub fn new(site: &'s Site<'b>) -> Result<Self> {
        let log = site.dir().join("world.log");
        std::fs::write(&log, "")?;
        let home = site.home(&site.vm)?;
        let line =
            |first: &str| format!("#!/bin/sh\necho \"{first} $$ $*\" >>'{}'\n", log.display());
        program(
            &home.join(".node/node"),
            &format!(
                "{}exec '{}' \"$@\"\n",
                line("node"),
                kept::builds()?.join("bin/node").display()
            ),
        )?;
        let hook = site.app_dir()?.join(".git/hooks/post-checkout");
        program(&hook, &line("checkout"))?;
        Ok(Self { site, log })
    }

    /// The counts so far; `vm` is the target now.
    pub fn counts(&self, vm: &str) -> Result<Counts> {
        let mut counts = Counts::new();
        let log = std::fs::read_to_string(&self.log)?;
        for line in log.lines() {
            if line.starts_with("checkout ") {
                *counts.entry("checkouts").or_default() += 1;
            }
            for (name, words) in PROGRAMS {
                if line.contains(words) {
                    *counts.entry(name).or_default() += 1;
                }
            }
        }
        let family = self.site.family()?;
        counts.insert("VMs", family.vms.len());
        counts.insert("commits", family.commits.len());
        for (name, path) in [
            ("events in the feed", "/feed/events"),
            ("entries in the ledger", "/commits"),
            ("entries in the registry", "/registry/vms"),
        ] {
            let (status, body) = self.site.get(vm, path, Some(TOKEN))?;
            ensure!(status == 200, "{path}: {status} {body}");
            let body: Value = serde_json::from_str(&body)?;
            let list = body.as_array().map(Vec::len);
            let count = list.or_else(|| Some(body.get("count")?.as_u64()? as usize));
            counts.insert(name, count.with_context(|| format!("{path}: {body}"))?);
        }
        Ok(counts)
    }

    /// The process of a program whose arguments contain these words, if it was
    /// started.
    pub fn process(&self, words: &str) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let line = log.lines().rfind(|line| line.contains(words))?;
        line.split(' ').nth(1).map(str::to_owned)
    }

    /// Programs of the build that still run.
    pub fn no_build_runs(&self) -> Result<()> {
        let log = std::fs::read_to_string(&self.log)?;
        let build = |line: &&str| PROGRAMS[..3].iter().any(|(_, words)| line.contains(words));
        for line in log.lines().filter(build) {
            let pid = line.split(' ').nth(1).unwrap_or_default();
            let command = Path::new("/proc").join(pid).join("cmdline");
            let runs = || std::fs::read_to_string(&command).is_ok_and(|c| c.contains("node"));
            wait_for(
                &format!("the end of {line}"),
                Duration::from_secs(20),
                || (!runs()).then_some(()),
            )?;
        }
        Ok(())
    }
}

fn program(path: &Path, text: &str) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("no parent")?)?;
    kept::write_program(path, text)
}
