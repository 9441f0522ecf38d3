//! The network matrix: every SSH command of a run is cut, swallowed or slowed
//! down, and every call of the API fails in every way. Each run ends with the
//! old version or the new one, or says loudly that it could not, and each
//! change happens as often as without a fault, counted by the VMs and the
//! platform.

mod asleep;
mod hand;
mod hole;
mod running;
mod table;

pub use crate::platform::check::SHORT_WINDOW;
pub use asleep::TRIALS as SLEEPERS;
pub use hole::TRIALS as HOLES;
pub use table::TABLE;

use crate::platform::check::{arguments, target};
use crate::platform::row::{Break, Plan, Row, Wire};
use anyhow::{Context as _, Result, ensure};
use hand::Hand;
use running::Running;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use vdeploy_tests::Ran;
use vdeploy_tests::base::{TOKEN, text};
use vdeploy_tests::platform::fault::{Call, How};
use vdeploy_tests::platform::{Counts, Pace, Place, World};

/// A target that is asked soon whether it is there.
const WAKEFUL: &str = "keepalive = \"500ms\"\n";
/// A platform that must answer soon.
pub const SHORT: &str = "call-timeout = \"3s\"\ncommit-timeout = \"10s\"\n";

/// Commands of the shortest run that is tested here.
const FEWEST: usize = 10;

/// What a run met, and what happened in its world.
#[derive(Default)]
pub struct Met {
    /// SSH commands that came to the VMs.
    pub commands: usize,
    /// Those that have lost their connection, each once.
    pub hit: BTreeSet<String>,
    /// Those that have not.
    pub missed: BTreeSet<String>,
    /// Connections that were made.
    pub connections: u64,
    /// How often each change happened.
    pub counts: Counts,
}

/// Runs `vdeploy ARGS` over such a connection.
pub fn run(place: &Place<'_>, wire: Wire, args: &[&str]) -> Result<(Ran, Met)> {
    let line = place.line()?;
    let keys = match wire {
        Wire::Each(_, Break::Silent) => WAKEFUL,
        _ => "",
    };
    place.write_project_over(Some(&line), keys)?;
    if let Wire::Pace(pace) = wire {
        line.set_pace(pace);
    }
    place.watch(true)?;
    let mut hand = Hand::new(place, &line, wire);
    let ended = Running::start(place.command(args), place.dir())
        .and_then(|mut running| running.follow(|_| hand.look()));
    place.stop_nothing()?;
    line.set_pace(Pace::Good);
    let ran = ended?;
    let met = Met {
        commands: hand.commands,
        hit: hand.hit,
        missed: hand.missed,
        connections: line.connections(),
        counts: world_of(place, &ran).with_context(|| ran.text())?,
    };
    Ok((ran, met))
}

/// How often each change happened, as the VMs, the service and the platform
/// know it.
fn world_of(place: &Place<'_>, ran: &Ran) -> Result<Counts> {
    let vm = target(place, ran)?;
    let mut counts = place.counts();
    let made = place.made();
    counts.insert("commits", made.commits);
    counts.insert("VMs", made.vms);
    for (name, path) in [
        ("events in the feed", "/feed/events"),
        ("entries in the ledger", "/commits"),
        ("entries in the registry", "/registry/vms"),
    ] {
        let (status, body) = place.get(vm, path, Some(TOKEN))?;
        ensure!(status == 200, "{path}: {status} {body}");
        let body: Value = serde_json::from_str(&body)?;
        let list = body.as_array().map(Vec::len);
        let count = list.or_else(|| Some(body.get("count")?.as_u64()? as usize));
        counts.insert(name, count.with_context(|| format!("{path}: {body}"))?);
    }
    Ok(counts)
}

/// What happens in the world without a fault, when it is known.
type Whole = Arc<Mutex<Option<Counts>>>;

/// By app, and by the kind of target and what is run.
static WHOLE: Mutex<BTreeMap<(&str, String), Whole>> = Mutex::new(BTreeMap::new());

/// Every command met what is wrong, nothing is left on the target, and each
/// change happened as often as without a fault.
pub fn counted(world: &World, place: &Place<'_>, row: Row, ran: &Ran, met: Met) -> Result<()> {
    if let Wire::Each(..) = row.wire {
        ensure!(
            met.hit.len() >= FEWEST && met.missed.is_empty(),
            "of {} commands on {} connections {} lost theirs, and these did not: {:#?}",
            met.commands,
            met.connections,
            met.hit.len(),
            met.missed
        );
    }
    let vm = place.vm(target(place, ran)?)?;
    let left = vm.shell("ls .vdeploy/jobs 2>/dev/null || true")?;
    ensure!(left.is_empty(), "files of jobs are left: {left}");
    let whole = whole(world, row)?;
    ensure!(
        met.counts == whole,
        "counted {:?}, and without a fault {whole:?}",
        met.counts
    );
    Ok(())
}

fn whole(world: &World, row: Row) -> Result<Counts> {
    let own: Whole = {
        let mut all = WHOLE.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry((row.app, row.kin())).or_default().clone()
    };
    // Held while it runs: two of the same wait for one.
    let mut known = own.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(counts) = &*known {
        return Ok(counts.clone());
    }
    let place = world.place(row.kind, None)?;
    place.add_task("keep me")?;
    place.remote.push_variant(row.app)?;
    let run = match row.plan {
        Plan::Deploy | Plan::DeployElseSnapshot => None,
        Plan::RollbackGit | Plan::RollbackSnapshot => {
            let ran = place.vdeploy(&arguments(row, Plan::Deploy, None))?;
            Some(text(&ran.expect_code(0)?.event("run-finished")?, "run")?)
        }
    };
    let mut args = arguments(row, row.plan, run.as_deref());
    args.extend(row.args);
    let (ran, met) = self::run(&place, Wire::Good, &args)?;
    ran.expect_code(row.code)?;
    ensure!(met.commands >= FEWEST, "only {} commands", met.commands);
    *known = Some(met.counts.clone());
    Ok(met.counts)
}

/// A fault that hits each call once has hit every kind of call that was made.
pub fn every_call_met(row: Row, calls: &[(Call, Option<How>)]) -> Result<()> {
    for fault in row.api.iter().filter(|fault| fault.each_once) {
        let meant = |call: Call| fault.call == Call::Any || call.only_looks();
        let of = |call: Call| calls.iter().filter(move |(made, _)| *made == call);
        let hit = calls.iter().filter(|(_, how)| how.is_some()).count();
        ensure!(hit >= 3, "only {hit} calls were hit: {calls:?}");
        for (call, _) in calls.iter().filter(|(call, _)| meant(*call)) {
            ensure!(
                of(*call).any(|(_, how)| *how == Some(fault.how)),
                "{call:?} was never hit: {calls:?}"
            );
        }
    }
    Ok(())
}
