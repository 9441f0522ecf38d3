//! A network that is gone for longer than a command: for less time than the
//! lease lasts, for longer, and for good.

use super::running::Running;
use super::{SHORT_WINDOW, WAKEFUL};
use crate::platform::Test;
use crate::platform::row::OLD;
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use vdeploy_tests::Ran;
use vdeploy_tests::base::{TOKEN, text};
use vdeploy_tests::platform::{Came, Counts, Kind, Line, Place, Told, World};

pub const TRIALS: &[Test] = &[
    (
        "network::a_hole_longer_than_the_lease_fences_the_first_run",
        fenced,
    ),
    (
        "network::a_hole_for_good_is_said_and_the_run_is_resumed",
        for_good,
    ),
    (
        "network::a_hole_shorter_than_the_lease_is_waited_out",
        waited_out,
    ),
];

const DEPLOY: &[&str] = &["run", "--plan", "default", "--json"];

/// A place whose VM stops each command, with the old version live and a new
/// one pushed.
fn place<'a>(world: &'a World, keys: &str) -> Result<(Place<'a>, Line)> {
    let place = world.place(Kind::Vers, None)?;
    place.add_task("keep me")?;
    place.remote.push_variant("good-v2")?;
    let line = place.line()?;
    place.write_project_over(Some(&line), keys)?;
    place.watch(true)?;
    Ok((place, line))
}

pub(super) fn deploy(place: &Place<'_>, more: &[&str]) -> std::process::Command {
    let mut command = place.command(DEPLOY);
    command.args(SHORT_WINDOW).args(more);
    command
}

/// A deploy of a machine that shares nothing but the target and waits for it.
pub(super) fn elsewhere(place: &Place<'_>) -> Result<Running> {
    let other = place.dir().join("another-machine");
    std::fs::create_dir_all(&other)?;
    let project = "vdeploy.toml";
    std::fs::copy(place.dir().join(project), other.join(project))?;
    let mut command = deploy(place, &["--wait", "300"]);
    command
        .current_dir(&other)
        .env("HOME", &other)
        .env("VDEPLOY_STATE", other.join("state"));
    Running::start(command, &other)
}

/// Lets commands through, but for one.
struct Guard {
    seen: usize,
    held: Option<u32>,
}

impl Guard {
    fn new() -> Self {
        Self {
            seen: 0,
            held: None,
        }
    }

    /// Lets commands begin and end; the first one that `holds` is held before
    /// it begins. Gives it when it comes.
    fn look(&mut self, place: &Place<'_>, holds: impl Fn(&Came) -> bool) -> Result<Option<Came>> {
        let vm = place.vm(place.vm)?;
        let mut caught = None;
        for told in vm.told(&mut self.seen) {
            match told {
                Told::Came(came) if self.held.is_none() && holds(&came) => {
                    self.held = Some(came.id);
                    caught = Some(came);
                }
                Told::Came(came) => vm.let_begin(came.id)?,
                Told::Ended(id) => vm.let_end(id)?,
            }
        }
        Ok(caught)
    }
}

/// The change that takes the wanted version into the checkout.
fn is_checkout(came: &Came) -> bool {
    came.is_job() && came.text.contains("-- switch ")
}

fn never(_: &Came) -> bool {
    false
}

/// A change is on its way when the network goes. Another run, of a machine that
/// knows nothing of the first, takes the target when the lease has run out, and
/// deploys. Then the network is back: the change arrives, and does nothing.
fn fenced(world: &World) -> Result<()> {
    let (place, line) = place(world, "")?;
    let mut guard = Guard::new();
    let mut first = Running::start(deploy(&place, &[]), place.dir())?;
    let mut second: Option<Running> = None;
    let mut after_second: Option<(Ran, Counts)> = None;
    let ran = first.follow(|_| {
        if let Some(came) = guard.look(&place, is_checkout)? {
            line.black_hole();
            ensure!(!came.text.is_empty());
            place.write_project_over(None, "")?;
            second = Some(elsewhere(&place)?);
        }
        if after_second.is_none()
            && let Some(running) = &mut second
            && let Some(ran) = running.ended()?
        {
            let ran = ran.expect_code(0)?;
            after_second = Some((ran, place.counts()));
            line.heal();
            if let Some(held) = guard.held {
                place.vm(place.vm)?.let_begin(held)?;
            }
        }
        Ok(())
    });
    // It may have given up before the second one ended.
    let healed = match (after_second, second) {
        (Some(healed), _) => Ok(healed),
        (None, Some(mut running)) => running
            .follow(|_| guard.look(&place, never).map(drop))
            .and_then(|ran| Ok((ran.expect_code(0)?, place.counts()))),
        (None, None) => Err(anyhow::anyhow!("the checkout never came")),
    };
    line.heal();
    place.stop_nothing()?;
    let (ran, (taker, counts)) = (ran?, healed?);
    let told = format!("--- first\n{}\n--- second\n{}", ran.text(), taker.text());
    let judged = || {
        ensure!(
            taker.text().contains("which has lost its lease"),
            "it took nothing"
        );
        let end = ran.event("run-finished")?;
        ensure!(ran.code == 40, "exit code {}", ran.code);
        ensure!(text(&end, "outcome")? == "interrupted", "{end}");
        let message = text(&end, "message")?;
        ensure!(message.contains("the lease was lost"), "{message}");
        // What was under way has arrived by now, and has ended.
        let vm = place.vm(place.vm)?;
        let run = text(&end, "run")?;
        let mut seen = 0;
        let held = guard.held.context("nothing was held")?;
        vdeploy_tests::base::wait_for("the late change", Duration::from_secs(60), || {
            let mut told = vm.told(&mut seen).into_iter();
            told.any(|told| told == Told::Ended(held)).then_some(())
        })?;
        let began = vm.shell(&format!(
            "cd .vdeploy-lease && ls lost.{run} && cd ../.vdeploy/jobs && ls -d {run}/*.run | wc -l"
        ))?;
        ensure!(began.starts_with("lost."), "{began}");
        ensure!(
            place.counts() == counts,
            "{:?} instead of {counts:?}: the first run changed something",
            place.counts()
        );
        once(&counts)?;
        ensure!(place.made().commits == 3, "{:?}", place.made());
        is_live(&place, "2.0.0")?;
        let holder = vm.lease()?;
        ensure!(holder == "-", "run {holder} still has the lease");
        Ok(())
    };
    judged().context(told)
}

/// The network goes in the middle and stays away: the run says what it does not
/// know, and that it is to be resumed. When the network is back it is.
fn for_good(world: &World) -> Result<()> {
    let (place, line) = place(world, "")?;
    let mut guard = Guard::new();
    let ran = Running::start(deploy(&place, &[]), place.dir()).and_then(|mut running| {
        running.follow(|_| {
            if guard.look(&place, is_checkout)?.is_some() {
                line.black_hole();
            }
            Ok(())
        })
    });
    line.heal();
    place.stop_nothing()?;
    let ran = ran?;
    let judged = || {
        let end = ran.event("run-finished")?;
        ensure!(ran.code == 40, "exit code {}", ran.code);
        let message = text(&end, "message")?;
        for word in ["the lease was lost", "connection was lost"] {
            ensure!(message.contains(word), "`{word}` is not in: {message}");
        }
        let run = text(&end, "run")?;
        let resume = format!("vdeploy resume {run}");
        ensure!(end.to_string().contains(&resume), "no way on: {end}");
        is_live(&place, OLD)?;
        // What came of the change is found out, and it is not made again.
        let resumed = place.vdeploy(&["resume", &run, "--json"])?.expect_code(0)?;
        is_live(&place, "2.0.0").with_context(|| resumed.text())?;
        once(&place.counts())?;
        ensure!(place.made().commits == 2, "{:?}", place.made());
        let left = place.vm(place.vm)?.shell("ls .vdeploy/jobs")?;
        ensure!(left.is_empty(), "files of jobs are left: {left}");
        Ok(())
    };
    judged().with_context(|| ran.text())
}

/// The network is away while a change runs, and back before the lease is lost.
fn waited_out(world: &World) -> Result<()> {
    let (place, line) = place(world, WAKEFUL)?;
    let mut guard = Guard::new();
    let (mut gone, mut back) = (false, false);
    let ran = Running::start(deploy(&place, &[]), place.dir()).and_then(|mut running| {
        running.follow(|running| {
            if guard.look(&place, is_checkout)?.is_some() {
                line.black_hole();
                gone = true;
            }
            if gone && !back && running.said().contains("the connection was lost while") {
                back = true;
                line.heal();
                if let Some(held) = guard.held {
                    place.vm(place.vm)?.let_begin(held)?;
                }
            }
            Ok(())
        })
    });
    line.heal();
    place.stop_nothing()?;
    let ran = ran?.expect_code(0)?;
    let judged = || {
        ensure!(back, "it was never said that the connection was lost");
        is_live(&place, "2.0.0")?;
        once(&place.counts())?;
        ensure!(place.made().commits == 2, "{:?}", place.made());
        let holder = place.vm(place.vm)?.lease()?;
        ensure!(holder == "-", "run {holder} still has the lease");
        Ok(())
    };
    judged().with_context(|| ran.text())
}

pub(super) fn once(counts: &Counts) -> Result<()> {
    for name in ["checkouts", "npm run build", "tsc", "service starts"] {
        ensure!(counts.get(name) == Some(&1), "{name}: {counts:?}");
    }
    Ok(())
}

pub(super) fn is_live(place: &Place<'_>, version: &str) -> Result<()> {
    let live = place.version(place.vm).unwrap_or_default();
    ensure!(live == version, "`{live}` is live instead of `{version}`");
    let (status, board) = place.get(place.vm, "/board/tasks", Some(TOKEN))?;
    ensure!(
        status == 200 && board.contains("keep me"),
        "the data: {status} {board}"
    );
    Ok(())
}
