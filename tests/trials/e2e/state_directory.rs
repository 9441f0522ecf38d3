//! The state directory fails: its disk is full, its database is locked, it
//! cannot be written. The run ends with a clear error and code 40, the target
//! is left alone from then on, and the run is resumed when that is mended.

use crate::e2e::Add;
use crate::e2e::counted::{Counted, Counts};
use crate::e2e::gated::{Gate, builds, deploy, done_once};
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use vdeploy_tests::base::{text, wait_for};
use vdeploy_tests::small_disk::SmallDisk;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    let mut test = |name: &str, test| crate::e2e::test(add, &format!("state::{name}"), test);
    test("a_disk_that_fills_up_stops_the_run_until_it_has_room", full);
    test("a_database_that_stays_locked_stops_the_run", locked);
    test("a_directory_that_is_removed_stops_the_run", removed);
    test("a_full_disk_at_the_start_touches_nothing", full_at_start);
    test(
        "a_locked_database_at_the_start_touches_nothing",
        locked_at_start,
    );
    test("a_read_only_directory_touches_nothing", read_only);
    test("a_file_in_its_place_touches_nothing", a_file);
}

const OLD: &str = "1.0.0";

/// Its intent is written by then.
fn build_runs(world: &Counted<'_, '_>) -> Result<()> {
    let limit = Duration::from_secs(120);
    wait_for("the build", limit, || world.process("npm run build"))?;
    Ok(())
}

/// The run was broken off in its build: what it says, and what it left.
fn broken_off(
    site: &Site<'_>,
    world: &Counted<'_, '_>,
    run: &str,
    ran: Ran,
    says: &str,
) -> Result<Counts> {
    let ran = ran.expect_code(40)?;
    let end = ran.event("run-finished")?;
    ensure!(text(&end, "outcome")? == "interrupted", "{end}");
    let message = text(&end, "message")?;
    let resume = format!("vdeploy resume {run}");
    let place = site.state().display().to_string();
    for word in [&*place, says, &*resume] {
        ensure!(message.contains(word), "no `{word}` in {message}");
    }
    let next = end.get("next").and_then(Value::as_array);
    let named = next.is_some_and(|next| next.iter().any(|way| *way == *resume));
    ensure!(named, "{end}");
    left_in_the_build(site, world)
}

/// The build was the last thing that happened there.
fn left_in_the_build(site: &Site<'_>, world: &Counted<'_, '_>) -> Result<Counts> {
    world.no_build_runs()?;
    let counts = world.counts(&site.vm)?;
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    ensure!(count("npm run build") == 1, "{counts:?}");
    ensure!(count("service starts") == 0, "{counts:?}");
    ensure!(
        site.version().as_deref() == Some(OLD),
        "{:?}",
        site.version()
    );
    Ok(counts)
}

/// Nothing has happened since.
fn untouched(site: &Site<'_>, world: &Counted<'_, '_>, before: &Counts) -> Result<()> {
    let counts = world.counts(&site.vm)?;
    ensure!(counts == *before, "{counts:?}, before {before:?}");
    Ok(())
}

/// It is resumed to the end that it has without a failure, and nothing is
/// done twice.
fn goes_on(
    base: &Base,
    world: &Counted<'_, '_>,
    site: &Site<'_>,
    mut resume: Command,
) -> Result<()> {
    Ran::from(resume.output()?).expect_code(0)?;
    done_once(base, world, site)
}

fn full(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let gate = Gate::push(&site)?;
    let disk = SmallDisk::over(&site.state(), 32)?;
    let mut begun = UnderWay::until(disk.enter(&deploy(&site)), builds)?;
    build_runs(&world)?;
    disk.fill()?;
    gate.open()?;
    let run = begun.run.clone();
    let counts = broken_off(&site, &world, &run, begun.end()?, "free some space")?;
    let resume = || disk.enter(&site.command(&["resume", &run, "--json"]));
    let still = Ran::from(resume().output()?).expect_code(1)?;
    still
        .expect_text(&site.state().display().to_string())?
        .expect_text("free some space")?;
    untouched(&site, &world, &counts)?;
    disk.free()?;
    goes_on(base, &world, &site, resume())?;
    let lease = Ran::from(
        disk.enter(&site.command(&["lease", "show", "--json"]))
            .output()?,
    );
    lease.expect_code(0)?.expect_text("\"held\":false")?;
    Ok(())
}

/// Takes the write lock as another process does that never comes to an end.
/// What is written to a removed file would be gone with the process.
fn removed(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let gate = Gate::push(&site)?;
    let mut begun = UnderWay::until(deploy(&site), builds)?;
    build_runs(&world)?;
    let away = site.state().with_extension("away");
    std::fs::rename(site.state(), &away)?;
    gate.open()?;
    let run = begun.run.clone();
    broken_off(&site, &world, &run, begun.end()?, "removed or replaced")?;
    std::fs::rename(&away, site.state())?;
    goes_on(
        base,
        &world,
        &site,
        site.command(&["resume", &run, "--json"]),
    )
}

fn lock(site: &Site<'_>) -> Result<Connection> {
    let db = Connection::open(site.state().join("vdeploy.db"))?;
    db.busy_timeout(Duration::from_secs(60))?;
    db.execute_batch("BEGIN EXCLUSIVE")?;
    Ok(db)
}

fn locked(base: &Base) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let gate = Gate::push(&site)?;
    let mut begun = UnderWay::until(deploy(&site), builds)?;
    build_runs(&world)?;
    let lock = lock(&site)?;
    gate.open()?;
    let run = begun.run.clone();
    let counts = broken_off(&site, &world, &run, begun.end()?, "locked for too long")?;
    let resume = || site.command(&["resume", &run, "--json"]);
    Ran::from(resume().output()?)
        .expect_code(1)?
        .expect_text("locked for too long")?
        .expect_text(&format!("vdeploy resume {run}"))?;
    untouched(&site, &world, &counts)?;
    lock.execute_batch("ROLLBACK")?;
    drop(lock);
    goes_on(base, &world, &site, resume())?;
    crate::e2e::hold::lease_is_free(&site)
}

/// What vdeploy has on the VM for itself: names and times.
fn traces(site: &Site<'_>) -> Result<BTreeMap<PathBuf, SystemTime>> {
    let mut found = BTreeMap::new();
    let home = site.home(&site.vm)?;
    let mut dirs = vec![home.join(".vdeploy"), home.join(".vdeploy-lease")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let entry = entry?;
            let seen = entry.metadata()?;
            // What the service prints is its own.
            if entry.file_name() == "logs" {
                continue;
            }
            if seen.is_dir() {
                dirs.push(entry.path());
            }
            found.insert(entry.path(), seen.modified()?);
        }
    }
    Ok(found)
}

/// A run that cannot begin, with the reason; and that nothing was touched.
fn refused(site: &Site<'_>, mut run: Command, says: &[&str]) -> Result<()> {
    let world = Counted::new(site)?;
    site.remote.push_variant("good-v2")?;
    let (head, before, left) = (site.head()?, world.counts(&site.vm)?, traces(site)?);
    let ran = Ran::from(run.output()?).expect_code(1)?;
    let place = site.state().display().to_string();
    let ran = ran.expect_text(&place)?;
    for word in says {
        ran.clone().expect_text(word)?;
    }
    untouched(site, &world, &before)?;
    ensure!(site.head()? == head && site.version().as_deref() == Some(OLD));
    let after = traces(site)?;
    ensure!(after == left, "{after:?}, before {left:?}");
    Ok(())
}

fn full_at_start(base: &Base) -> Result<()> {
    let site = base.site()?;
    let disk = SmallDisk::over(&site.state(), 1)?;
    disk.fill()?;
    refused(&site, disk.enter(&deploy(&site)), &["free some space"])?;
    // With a database that is there already, too.
    disk.free()?;
    let list = disk.enter(&site.command(&["runs", "list"])).output()?;
    Ran::from(list).expect_code(0)?;
    disk.fill()?;
    refused(&site, disk.enter(&deploy(&site)), &["free some space"])
}

fn locked_at_start(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.vdeploy(&["runs", "list"])?.expect_code(0)?;
    let _lock = lock(&site)?;
    let says = ["locked for too long", "nothing was touched"];
    refused(&site, deploy(&site), &says)?;
    // Who only reads is not kept from it.
    site.vdeploy(&["runs", "list"])?.expect_code(0)?;
    Ok(())
}

fn read_only(base: &Base) -> Result<()> {
    let site = base.site()?;
    let disk = SmallDisk::over(&site.state(), 8)?;
    disk.read_only()?;
    let says = ["Read-only file system", "--state"];
    refused(&site, disk.enter(&deploy(&site)), &says)?;
    drop(disk);
    let disk = SmallDisk::over(&site.state(), 8)?;
    let list = || disk.enter(&site.command(&["runs", "list"]));
    Ran::from(list().output()?).expect_code(0)?;
    disk.read_only()?;
    let says = ["mend the permissions or choose another place with `--state`"];
    refused(&site, disk.enter(&deploy(&site)), &says)?;
    Ran::from(list().output()?)
        .expect_code(1)?
        .expect_text("--state")?;
    Ok(())
}

fn a_file(base: &Base) -> Result<()> {
    let site = base.site()?;
    std::fs::write(site.state(), "").context("no file")?;
    refused(
        &site,
        deploy(&site),
        &["its directory cannot be made", "--state"],
    )
}
