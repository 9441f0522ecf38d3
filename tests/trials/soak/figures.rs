//! What is left on the target, in the cloud and on the host, as figures. What
//! must not be there at all fails at once.

use crate::soak::proc;
use crate::soak::round::Ground;
use crate::soak::series::{Expected, Table, median};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use vdeploy_tests::base::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICE: &str = "dist/server.js";
const MIB: f64 = 1024.0 * 1024.0;

const fn steady(percent: f64, more: f64) -> Expected {
    Expected::Steady { percent, more }
}

/// Measures everything.
pub fn take(ground: &mut Ground<'_>, table: &mut Table) -> Result<()> {
    target(ground, table).context("on the target")?;
    cloud(ground, table).context("in the cloud")?;
    host(ground, table).context("on the host")
}

fn target(ground: &Ground<'_>, table: &mut Table) -> Result<()> {
    let vm = &ground.site.vm;
    // What a finished command left to its parent ends within moments.
    let alone = || {
        let its = proc::of_vm(vm);
        let service = |(_, command): &&(u32, String)| command.contains(SERVICE);
        (its.len() == 1 && its.iter().all(|p| service(&p))).then_some(its)
    };
    let its = wait_for("the service to be alone", PATIENCE, alone);
    let its = its.with_context(|| format!("{:?}", proc::of_vm(vm)))?;
    for gone in &ground.gone {
        wait_for("the processes of a deleted VM", PATIENCE, || {
            proc::of_vm(gone).is_empty().then_some(())
        })
        .with_context(|| format!("{:?}", proc::of_vm(gone)))?;
    }
    let service = its.first().map_or(0, |(pid, _)| *pid);
    table.keep(
        "processes on the target",
        steady(0.0, 0.0),
        its.len() as f64,
    );
    let ports = proc::listeners(service);
    ensure!(ports == 1, "the service listens on {ports} ports");

    let home = ground.site.home(vm)?;
    for job in names(&home.join(".vdeploy/jobs")) {
        ensure!(
            ground.given_up.contains(&job),
            "the jobs of run {job} are left"
        );
    }
    let lease = names(&home.join(".vdeploy-lease"));
    let lost = lease
        .iter()
        .filter(|name| name.starts_with("lost.") || name.starts_with("over."))
        .count();
    table.keep(
        "marks of runs that may change nothing more, and jobs that were left",
        Expected::Grows("two for each run that is over or was given up, for a week"),
        (lost + names(&home.join(".vdeploy/jobs")).len()) as f64,
    );
    let records = lease.len() - lost;
    table.keep("files of the lease", steady(0.0, 2.0), records as f64);
    table.keep(
        "names in the home and the checkout",
        steady(0.0, 3.0),
        entries(&home, 3) as f64,
    );
    let tmp = home.parent().context("no parent")?.join("tmp");
    table.keep(
        "names in its TMPDIR",
        steady(0.0, 3.0),
        entries(&tmp, 2) as f64,
    );
    table.keep(
        "size of the VM, MiB",
        steady(50.0, 20.0),
        size(&home) as f64 / MIB,
    );
    Ok(())
}

fn cloud(ground: &Ground<'_>, table: &mut Table) -> Result<()> {
    let endpoints = ground.base.endpoints()?;
    let pid = endpoints
        .get("pid")
        .and_then(Value::as_u64)
        .context("no pid")?;
    let pid = u32::try_from(pid)?;
    let memory = proc::memory_kib(pid).context("the cloud is gone")?;
    table.keep(
        "memory of the local cloud, MiB",
        steady(25.0, 16.0),
        memory as f64 / 1024.0,
    );
    let threads = proc::threads(pid).unwrap_or_default();
    table.keep("its threads", steady(10.0, 4.0), threads as f64);
    let open = proc::open_files(pid).len();
    table.keep(
        "its open files and connections",
        steady(10.0, 8.0),
        open as f64,
    );
    table.keep(
        "its listening ports",
        steady(0.0, 0.0),
        proc::listeners(pid) as f64,
    );
    // The target alone.
    let vms = ground.base.vms()?.len();
    ensure!(vms == 1, "{vms} VMs");
    table.keep("its VMs", steady(0.0, 0.0), vms as f64);
    let commits = names(&ground.base.cloud_dir().join("commits")).len();
    ensure!(commits <= 2, "{commits} snapshots are on the disk");
    Ok(())
}

fn host(ground: &mut Ground<'_>, table: &mut Table) -> Result<()> {
    let program = std::fs::canonicalize(ground.base.vdeploy())?;
    let state = ground.site.state();
    // Other trials run hosts of their own.
    let others = || proc::running(&program, &state);
    wait_for("the end of every host", PATIENCE, || {
        others().is_empty().then_some(())
    })
    .with_context(|| format!("{:?}", others()))?;
    let left = names(&ground.tmp);
    ensure!(left.is_empty(), "{left:?} is left in TMPDIR");
    let peaks: Vec<f64> = ground
        .peaks
        .drain(..)
        .map(|kib| kib as f64 / 1024.0)
        .collect();
    if let Some(peak) = median(&peaks) {
        table.keep("most memory of a run, MiB", steady(15.0, 8.0), peak);
    }
    let times: Vec<f64> = ground
        .times
        .drain(..)
        .map(|time| time.as_secs_f64())
        .collect();
    if let Some(time) = median(&times) {
        table.keep("an undisturbed deploy, s", Expected::Shown, time);
    }
    table.keep(
        "files in the state directory",
        steady(0.0, 1.0),
        entries(&state, 3) as f64,
    );
    let log = std::fs::metadata(state.join("vdeploy.db-wal")).map_or(0, |log| log.len());
    table.keep(
        "its write-ahead log, MiB",
        steady(0.0, 4.0),
        log as f64 / MIB,
    );
    table.keep(
        "its size, MiB",
        Expected::Grows("the journals of all runs"),
        size(&state) as f64 / MIB,
    );
    let list = ground
        .vdeploy(&["runs", "list", "--json", "--limit", "1000000"])?
        .expect_code(0)?;
    let runs: Value = serde_json::from_str(&list.stdout)?;
    let runs = runs.get("runs").and_then(Value::as_array);
    let runs = runs.context("no list of runs")?.len();
    ensure!(runs > 0, "no run is in the store");
    table.keep(
        "runs in the store",
        Expected::Grows("every run is kept"),
        runs as f64,
    );
    Ok(())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Names below a directory, so many levels deep; without what grows by design.
fn entries(dir: &Path, depth: usize) -> usize {
    const INSIDE: [&str; 6] = [
        ".git",
        "node_modules",
        ".npm",
        "data",
        "jobs",
        ".vdeploy-lease",
    ];
    let mut count = 0;
    for name in names(dir) {
        count += 1;
        let path = dir.join(&name);
        let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|seen| seen.is_dir());
        if is_dir && depth > 1 && !INSIDE.contains(&&*name) {
            count += entries(&path, depth - 1);
        }
    }
    count
}

/// Bytes of the files below a directory.
fn size(dir: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(seen) = std::fs::symlink_metadata(entry.path()) else {
            continue;
        };
        sum += match seen.is_dir() {
            true => size(&entry.path()),
            false => seen.len(),
        };
    }
    sum
}
