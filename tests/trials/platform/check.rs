//! Performs a row of the table on a place of its own, and looks at what came of
//! it: what was said, what is live, what was made, what was kept.

use crate::platform::network::{self, Met};
use crate::platform::row::{End, OLD, Plan, Row, Snapshot, TargetFault, Wire};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use uuid::Uuid;
use vdeploy_tests::Ran;
use vdeploy_tests::base::{TOKEN, text, wait_for};
use vdeploy_tests::platform::fault::{ApiFault, Call};
use vdeploy_tests::platform::{Place, World};

/// A short window after each start, but for a row that says otherwise.
pub const SHORT_WINDOW: &[&str] = &[
    "--set",
    "smoke.stable-seconds=1",
    "--set",
    "smoke-after-rollback.stable-seconds=1",
];

/// Performs a row.
pub fn check(world: &World, row: Row) -> Result<()> {
    let small = row.target.iter().find_map(|fault| match fault {
        TargetFault::SmallDisk(mib) => Some(*mib),
        _ => None,
    });
    let place = world.place(row.kind, small)?;
    place.add_task("keep me")?;
    let before = place.head()?;
    let pushed = place.remote.push_variant(row.app)?;
    let run = match row.plan {
        Plan::Deploy | Plan::DeployElseSnapshot => None,
        Plan::RollbackGit | Plan::RollbackSnapshot => {
            let ran = place.vdeploy(&arguments(row, Plan::Deploy, None))?;
            Some(text(&ran.expect_code(0)?.event("run-finished")?, "run")?)
        }
    };
    for fault in row.target {
        break_target(&place, *fault)?;
    }
    place.set_faults(row.api, row.vms);
    let mut args = arguments(row, row.plan, run.as_deref());
    args.extend(row.args);
    let calls = place.calls().len();
    let (ran, met) = match row.wire {
        Wire::Good => {
            if row.api.iter().any(ApiFault::answers_never) {
                place.write_project_over(None, network::SHORT)?;
            }
            (place.vdeploy(&args)?, Met::default())
        }
        wire => network::run(&place, wire, &args)?,
    };
    let calls = place.calls().split_off(calls);
    place.set_faults(&[], &[]);
    let judged = || -> Result<()> {
        network::every_call_met(row, &calls)?;
        judge(&place, row, &ran, &before, &pushed)?;
        match row.wire {
            Wire::Good => Ok(()),
            _ => network::counted(world, &place, row, &ran, met),
        }
    };
    judged().with_context(|| {
        format!(
            "--- stdout\n{}\n--- stderr\n{}\n---",
            ran.stdout, ran.stderr
        )
    })
}

/// Whether it came to what the row says.
fn judge(place: &Place<'_>, row: Row, ran: &Ran, before: &str, pushed: &str) -> Result<()> {
    let vm = look(place, row, ran)?;
    if vm == place.vm && row.plan == Plan::Deploy {
        let head = place.head()?;
        let wanted = match row.end {
            End::NewVerified => pushed,
            _ => before,
        };
        ensure!(head == wanted, "{head} is checked out instead of {wanted}");
    }
    let holder = place.vm(vm)?.lease()?;
    ensure!(
        holder == "-",
        "run {holder} still has the lease on the target"
    );
    lease_is_free(place, row)
}

pub fn arguments(row: Row, plan: Plan, run: Option<&str>) -> Vec<&str> {
    let mut args = match plan {
        Plan::Deploy | Plan::DeployElseSnapshot => vec!["run"],
        Plan::RollbackGit => vec!["rollback", "--to", "in-place"],
        Plan::RollbackSnapshot => vec!["rollback", "--to", "snapshot"],
    };
    args.push("--json");
    if let Some(run) = run {
        args.push(run);
    } else {
        args.extend(SHORT_WINDOW);
        args.push("--plan");
        args.push(match row.snapshot {
            Snapshot::Archive => "default-ssh",
            Snapshot::Default | Snapshot::Waived => "default",
        });
    }
    if plan == Plan::DeployElseSnapshot {
        args.extend(["--rollback-to", "snapshot"]);
    }
    if row.snapshot == Snapshot::Waived {
        args.extend(["--without-snapshot", "the table says so"]);
    }
    args
}

/// Makes a fault of the target.
pub fn break_target(place: &Place<'_>, fault: TargetFault) -> Result<()> {
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

/// The VM that is the target now.
pub fn target(place: &Place<'_>, ran: &Ran) -> Result<Uuid> {
    Ok(match ran.event("target-moved") {
        Ok(moved) => text(&moved, "to")?.parse()?,
        Err(_) => place.vm,
    })
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
    let vm = target(place, ran)?;
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
        End::Untouched => ensure!(
            row.code != 0 && live == "2.0.0",
            "not what was live before: {live}"
        ),
        End::Loud => {
            ensure!(
                message.contains("look at the target") || message.contains("kept as it is"),
                "not loud: {message}"
            );
            let next = end.get("next").and_then(serde_json::Value::as_array);
            ensure!(next.is_some_and(|n| !n.is_empty()), "no way on: {end}");
        }
    }
    let can_pause = row.api.iter().all(|fault| fault.call != Call::SetState);
    if vm != place.vm && can_pause {
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

/// Nobody holds the target once it is reached again: a plan that only looks is
/// not refused, and finds what the row left.
fn lease_is_free(place: &Place<'_>, row: Row) -> Result<()> {
    place.heal()?;
    let ran = place.vdeploy(&["run", "--plan", "smoke", "--set", "smoke.stable-seconds=0"])?;
    ensure!(ran.code != 20, "the target is held:\n{}", ran.text());
    let closed = [TargetFault::AuthRefused, TargetFault::SshdGone];
    let shut = row.target.iter().any(|fault| closed.contains(fault));
    if row.end != End::Loud && !row.live.is_empty() && !shut {
        ran.expect_code(0).context("the smoke test afterwards")?;
    }
    Ok(())
}
