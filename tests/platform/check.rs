//! Performs a row of the table on a place of its own, and looks at what came of
//! it: what was said, what is live, what was made, what was kept.

use crate::row::{End, OLD, Plan, Row, TargetFault};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use uuid::Uuid;
use vdeploy_tests::Ran;
use vdeploy_tests::base::{TOKEN, text, wait_for};
use vdeploy_tests::platform::{Place, World};

/// A short window after each start, but for a row that says otherwise.
const SHORT: &[&str] = &[
    "--set",
    "smoke.stable-seconds=1",
    "--set",
    "smoke-after-rollback.stable-seconds=1",
];

pub fn check(world: &World, row: Row) -> Result<()> {
    let small = row.target.iter().find_map(|fault| match fault {
        TargetFault::SmallDisk(mib) => Some(*mib),
        _ => None,
    });
    let place = world.place(small)?;
    place.add_task("keep me")?;
    let before = place.head()?;
    let pushed = place.remote.push_variant(row.app)?;
    let run = match row.plan {
        Plan::Deploy | Plan::DeployElseSnapshot => None,
        Plan::RollbackGit | Plan::RollbackSnapshot => {
            let ran = place.deploy(SHORT)?.expect_code(0)?;
            Some(text(&ran.event("run-finished")?, "run")?)
        }
    };
    for fault in row.target {
        break_target(&place, *fault)?;
    }
    place.set_faults(row.api, row.vms);
    let ran = perform(&place, row, run.as_deref())?;
    place.set_faults(&[], &[]);
    let seen = look(&place, row, &ran);
    let seen = seen.and_then(|vm| match vm == place.vm && row.plan == Plan::Deploy {
        true if row.end == End::NewVerified => checkout(&place, &pushed),
        true => checkout(&place, &before),
        false => Ok(()),
    });
    let seen = seen.and_then(|()| lease_is_free(&place));
    seen.with_context(|| format!("--- stdout\n{}\n--- stderr\n{}", ran.stdout, ran.stderr))
}

fn perform(place: &Place<'_>, row: Row, run: Option<&str>) -> Result<Ran> {
    let mut args = match row.plan {
        Plan::Deploy => vec!["run", "--plan", "default", "--json"],
        Plan::DeployElseSnapshot => vec!["run", "--json", "--rollback-to", "snapshot"],
        Plan::RollbackGit => vec!["rollback", "--json", "--to", "git"],
        Plan::RollbackSnapshot => vec!["rollback", "--json", "--to", "snapshot"],
    };
    match run {
        Some(run) => args.push(run),
        None => args.extend(SHORT),
    }
    args.extend(row.args);
    place.vdeploy(&args)
}

fn break_target(place: &Place<'_>, fault: TargetFault) -> Result<()> {
    let vm = place.vm(place.vm)?;
    match fault {
        TargetFault::AuthRefused => drop(vm.shell(": >/etc/ssh/authorized_keys")?),
        TargetFault::SshdGone => vm.end("sshd")?,
        TargetFault::FrontCloses => place.set_reachable(place.vm, false),
        TargetFault::SmallDisk(_) => {}
        TargetFault::RegistryDown => place.outer.npm_down(),
        TargetFault::RemoteDown => place.outer.git_down(),
        TargetFault::ServiceGone => vm.end("node")?,
        TargetFault::PortTaken => {
            vm.end("node")?;
            vm.shell(
                "setsid node -e 'require(\"net\").createServer().listen(3000, \"::\")' \
                 </dev/null >/dev/null 2>&1 &",
            )?;
            let listens = || vm.processes_named("node").iter().any(|p| p.listens());
            wait_for("the other program", Duration::from_secs(30), || {
                listens().then_some(())
            })?;
        }
    }
    Ok(())
}

/// Looks at what came of it; the VM that is the target now.
fn look(place: &Place<'_>, row: Row, ran: &Ran) -> Result<Uuid> {
    ensure!(
        ran.code == row.code,
        "exit code {} instead of {}",
        ran.code,
        row.code
    );
    let end = ran.event("run-finished")?;
    ensure!(text(&end, "outcome")? == row.outcome, "outcome: {end}");
    let message = text(&end, "message")?;
    for word in row.says {
        ensure!(
            message.contains(word),
            "`{word}` is not in the message:\n{message}"
        );
    }
    let vm = match ran.event("target-moved") {
        Ok(moved) => text(&moved, "to")?.parse()?,
        Err(_) => place.vm,
    };
    let made = place.made();
    ensure!(
        (made.commits, made.vms) == (row.commits, row.new_vms),
        "{made:?} instead of {} and {}",
        row.commits,
        row.new_vms
    );
    let live = place.version(vm).unwrap_or_default();
    ensure!(
        live == row.live,
        "`{live}` is live instead of `{}`",
        row.live
    );
    match row.end {
        End::NewVerified => ensure!(row.code == 0 && live != OLD, "not the new version: {live}"),
        End::OldGood => ensure!(
            live == OLD || row.live.is_empty(),
            "not the old version: {live}"
        ),
        End::Loud => {
            ensure!(
                message.contains("LOOK") || message.contains("look at the target"),
                "not loud: {message}"
            );
            let next = end.get("next").and_then(serde_json::Value::as_array);
            ensure!(next.is_some_and(|n| !n.is_empty()), "no way on: {end}");
        }
    }
    if vm != place.vm && row.api.is_empty() {
        let old = place.state_of(place.vm);
        ensure!(old == Some("paused"), "the old VM is {old:?}");
    }
    if !live.is_empty() {
        still_guarded(place, vm)?;
    }
    Ok(vm)
}

/// The service keeps its data and asks for the token.
fn still_guarded(place: &Place<'_>, vm: Uuid) -> Result<()> {
    let (status, board) = place.get(vm, "/board/tasks", Some(TOKEN))?;
    ensure!(
        status == 200 && board.contains("keep me"),
        "the data: {status} {board}"
    );
    let (status, _) = place.get(vm, "/board/tasks", None)?;
    ensure!(status == 401, "without a token: {status}");
    Ok(())
}

fn checkout(place: &Place<'_>, commit: &str) -> Result<()> {
    let head = place.head()?;
    ensure!(head == commit, "{head} is checked out instead of {commit}");
    Ok(())
}

/// Nobody holds the target once it is reached again: a plan that only looks is
/// not refused.
fn lease_is_free(place: &Place<'_>) -> Result<()> {
    place.heal()?;
    let ran = place.vdeploy(&["run", "--plan", "smoke", "--set", "smoke.stable-seconds=0"])?;
    ensure!(ran.code != 20, "the target is held:\n{}", ran.text());
    Ok(())
}
