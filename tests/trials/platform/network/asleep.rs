//! A host that sleeps, for longer than its leases, while it waits for the answer
//! to a snapshot: the platform was asked, and has made it. When the host wakes
//! up it makes no second one, whoever has the target by then.

use super::hole::{deploy, elsewhere, is_live, once};
use super::running::Running;
use crate::platform::Test;
use crate::platform::row::OLD;
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use std::time::Duration;
use vdeploy_tests::Ran;
use vdeploy_tests::base::{text, wait_for};
use vdeploy_tests::platform::fault::{ApiFault, Call, How, VmFault};
use vdeploy_tests::platform::{Kind, Place, World};

pub const TRIALS: &[Test] = &[
    (
        "network::a_host_asleep_in_a_commit_reads_the_answer_when_it_wakes",
        answered,
    ),
    (
        "network::a_host_asleep_in_a_commit_finds_the_snapshot_whose_answer_is_lost",
        dropped,
    ),
    (
        "network::a_host_asleep_in_a_commit_that_leaves_the_vm_paused_is_gone_on_with",
        paused,
    ),
    (
        "network::a_host_asleep_in_a_commit_changes_nothing_beside_another_machine",
        taken,
    ),
    (
        "network::a_host_asleep_in_a_commit_leaves_the_run_to_who_went_on_with_it",
        resumed,
    ),
];

/// What the platform takes its time for.
const LONG: Duration = Duration::from_secs(180);

/// A host that sleeps.
struct Asleep<'a> {
    place: Place<'a>,
    running: Running,
}

impl<'a> Asleep<'a> {
    /// Its snapshot is made and the answer is held back; its leases are over.
    fn in_a_commit(world: &'a World, answer: How, vms: &[VmFault]) -> Result<Self> {
        let place = world.place(Kind::Vers, None)?;
        place.add_task("keep me")?;
        place.remote.push_variant("good-v2")?;
        place.watch(false)?;
        place.set_faults(&[ApiFault::once(Call::Commit, answer)], vms);
        let mut running = Running::start(deploy(&place, &[]), place.dir())?;
        running.until("the snapshot", || place.made().commits == 1)?;
        running.signal(Signal::STOP)?;
        let vm = place.vm(place.vm)?;
        // The one in the store is shorter.
        wait_for("the end of the lease", LONG, || {
            vm.lease_is_over().unwrap_or(false).then_some(())
        })?;
        Ok(Self { place, running })
    }

    /// The answer is sent, and lies there when the host goes on.
    fn wake(&mut self) -> Result<Ran> {
        self.place.set_faults(&[], &[]);
        self.running.signal(Signal::CONT)?;
        self.running.follow(|_| Ok(()))
    }

    /// The new version is live, each change was made once, and there are the
    /// snapshots of one run.
    fn is_deployed(&self) -> Result<()> {
        is_live(&self.place, "2.0.0")?;
        once(&self.place.counts())?;
        self.has_made(2)
    }

    /// So many snapshots, and nobody holds the target.
    fn has_made(&self, commits: usize) -> Result<()> {
        let made = self.place.made();
        ensure!(made.commits == commits, "{made:?}");
        let holder = self.place.vm(self.place.vm)?.lease()?;
        ensure!(holder == "-", "run {holder} still has the lease");
        Ok(())
    }
}

fn answered(world: &World) -> Result<()> {
    let mut host = Asleep::in_a_commit(world, How::Held, &[])?;
    let ran = host.wake()?;
    let judged = || {
        ensure!(ran.code == 0, "exit code {}", ran.code);
        host.is_deployed()
    };
    judged().with_context(|| ran.text())
}

fn dropped(world: &World) -> Result<()> {
    let mut host = Asleep::in_a_commit(world, How::HeldThenDropped, &[])?;
    let ran = host.wake()?;
    let judged = || {
        ensure!(ran.code == 0, "exit code {}", ran.code);
        let found = ran.text().contains("looking for the snapshot");
        ensure!(found, "it did not look for it");
        host.is_deployed()
    };
    judged().with_context(|| ran.text())
}

/// A VM that stands still cannot say who holds it: the host gives up when it
/// has not answered, and the next process lets it go on.
fn paused(world: &World) -> Result<()> {
    let faults = [VmFault::PausedAfterCommit];
    let mut host = Asleep::in_a_commit(world, How::Held, &faults)?;
    let ran = host.wake()?;
    let judged = || {
        let run = interrupted(&ran)?;
        let message = text(&ran.event("run-finished")?, "message")?;
        let way = format!("`vdeploy resume {run}` continues");
        ensure!(message.contains(&way), "no way on: {message}");
        is_live(&host.place, OLD)?;
        let resumed = host.place.vdeploy(&["resume", &run, "--json"])?;
        resumed.expect_code(0)?;
        host.is_deployed()
    };
    judged().with_context(|| ran.text())
}

/// A machine that knows nothing of the first run deploys meanwhile.
fn taken(world: &World) -> Result<()> {
    let mut host = Asleep::in_a_commit(world, How::Held, &[])?;
    let taker = elsewhere(&host.place)?.follow(|_| Ok(()))?.expect_code(0)?;
    let counts = host.place.counts();
    let ran = host.wake()?;
    let judged = || {
        let run = interrupted(&ran)?;
        knows_no_state(&ran)?;
        // What it knew is not true any more.
        let way = format!("vdeploy abandon {run}");
        let resumed = host.place.vdeploy(&["resume", &run])?.expect_code(40)?;
        let other = text(&taker.event("run-finished")?, "run")?;
        let resumed = resumed.expect_text(&format!("run {other}, which began later"))?;
        resumed
            .expect_text("Nothing was touched")?
            .expect_text(&way)?;
        // Its own snapshot, and the two of the run that has deployed.
        host.has_made(3)?;
        ensure!(host.place.counts() == counts, "{:?}", host.place.counts());
        once(&counts)?;
        is_live(&host.place, "2.0.0")
    };
    judged().with_context(|| format!("{}\n--- the other run\n{}", ran.text(), taker.text()))
}

/// Somebody resumes the run on the machine whose first process sleeps.
fn resumed(world: &World) -> Result<()> {
    let mut host = Asleep::in_a_commit(world, How::Held, &[])?;
    let other = host.place.vdeploy(&["resume", "--json"])?.expect_code(0)?;
    let other = other.expect_text("checking whether the snapshot")?;
    let counts = host.place.counts();
    let ran = host.wake()?;
    let judged = || {
        interrupted(&ran)?;
        knows_no_state(&ran)?;
        ensure!(host.place.counts() == counts, "{:?}", host.place.counts());
        host.is_deployed()
    };
    judged().with_context(|| format!("{}\n--- resumed\n{}", ran.text(), other.text()))
}

/// It does not say what is on a target that somebody else had since.
fn knows_no_state(ran: &Ran) -> Result<()> {
    let message = text(&ran.event("run-finished")?, "message")?;
    let says = message.contains("a later lease holder may have");
    ensure!(says && !message.contains("is unchanged"), "{message}");
    Ok(())
}

/// It ended because it had lost a lease, and looked for its snapshot before;
/// the run.
fn interrupted(ran: &Ran) -> Result<String> {
    let end = ran.event("run-finished")?;
    ensure!(ran.code == 40, "exit code {}", ran.code);
    let message = text(&end, "message")?;
    for words in ["interrupted", "the lease was lost"] {
        ensure!(message.contains(words), "`{words}` is not in: {message}");
    }
    let looked = ran.text().contains("looking for the snapshot");
    ensure!(looked, "it did not look for the snapshot");
    text(&end, "run")
}
