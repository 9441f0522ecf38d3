//! The crash matrix with everything real: the host is killed (KILL) at places
//! that are spread over the whole run, and `vdeploy resume` brings the run to
//! the end that it has without a crash, with nothing done twice.

use crate::e2e::Add;
use crate::e2e::counted::{Counted, Counts};
use crate::e2e::cut::{Cut, kill_deploy, kind};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use vdeploy_tests::base::{TOKEN, text};
use vdeploy_tests::{Base, Ran, Remote, Site, fixtures};

/// A deploy and what must come of it, however often it is interrupted.
#[derive(Clone, Copy)]
struct Deploy {
    name: &'static str,
    push: fn(&Remote) -> Result<String>,
    more: &'static [&'static str],
    code: i32,
    outcome: &'static str,
    live: &'static str,
    /// Whether the target is another VM afterwards.
    moves: bool,
    /// How many crashes.
    crashes: usize,
}

#[rustfmt::skip]
const DEPLOYS: [Deploy; 3] = [
    Deploy { name: "a_good_app", push: good, more: &[], code: 0, outcome: "deployed", live: "2.0.0", moves: false, crashes: 10 },
    Deploy { name: "a_bad_app_back_by_git", push: bad, more: &[], code: 11, outcome: "rolled-back", live: "1.0.0", moves: false, crashes: 9 },
    Deploy { name: "a_bad_app_back_by_snapshot", push: bad, more: &["--rollback-to", "snapshot"], code: 11, outcome: "rolled-back", live: "1.0.0", moves: true, crashes: 7 },
];

/// A good version whose modules are installed anew.
fn good(remote: &Remote) -> Result<String> {
    let lock = std::fs::read_to_string(fixtures().join("agent-services/package-lock.json"))?;
    let version = "export const VERSION: string = \"2.0.0\";\n";
    remote.push_files(
        "good",
        &[
            ("src/version.ts", version),
            ("package-lock.json", &format!("{lock}\n")),
        ],
    )
}

fn bad(remote: &Remote) -> Result<String> {
    remote.push_variant("wrong-json")
}

/// What each of them does at least once: it is seen to be counted.
const EACH_DOES: [&str; 6] = [
    "checkouts",
    "npm run build",
    "tsc",
    "service starts",
    "commits",
    "events in the feed",
];

/// A place in a run: a function of a step, and the number of an event in it.
/// How many events come in one is not the same each time, but their order is.
type Place = (String, usize);

/// The same deploy without a crash.
struct Whole {
    places: Vec<Place>,
    counts: Counts,
}

pub fn add(add: &mut Add<'_>) {
    for deploy in DEPLOYS {
        let whole: Arc<OnceLock<Result<Whole, String>>> = Arc::default();
        for nth in 0..deploy.crashes {
            let whole = whole.clone();
            let name = format!(
                "crashes::{}::{}_of_{}",
                deploy.name,
                nth + 1,
                deploy.crashes
            );
            add(
                name,
                Box::new(move |base| {
                    let whole =
                        whole.get_or_init(|| run_whole(base, deploy).map_err(|e| format!("{e:?}")));
                    let whole = whole.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
                    crash(base, deploy, whole, nth)
                }),
            );
        }
    }
}

/// Follows a run from function to function.
#[derive(Default)]
struct Walk {
    functions: Vec<String>,
    nth: usize,
}

impl Walk {
    /// Where the run is with this event, if the event is a place.
    fn place(&mut self, event: &Value) -> Option<Place> {
        let word = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or("");
        match kind(event) {
            "step-started" => {
                let name = [word("section"), word("step"), word("phase")].join("/");
                self.functions.push(name);
                self.nth = 0;
            }
            "call-started" | "call-finished" | "step-finished" | "step-failed"
            | "snapshot-taken" | "target-moved" | "rollback-started" => self.nth += 1,
            _ => return None,
        }
        Some((self.functions.last()?.clone(), self.nth))
    }
}

fn run_whole(base: &Base, deploy: Deploy) -> Result<Whole> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    (deploy.push)(&site.remote)?;
    let mut args = vec!["--set", "smoke.stable-seconds=0"];
    args.extend(deploy.more);
    let ran = site.deploy(&args)?.expect_code(deploy.code)?;
    let mut walk = Walk::default();
    let events = ran.events()?;
    let places = events
        .iter()
        .filter_map(|event| walk.place(event))
        .collect();
    let vm = target(&site, &ran)?;
    let counts = world.counts(&vm)?;
    let counted = |name: &&str| counts.get(name).is_some_and(|count| *count > 0);
    let missed: Vec<&str> = EACH_DOES
        .into_iter()
        .filter(|name| !counted(name))
        .collect();
    ensure!(missed.is_empty(), "not counted: {missed:?} in {counts:?}");
    Ok(Whole { places, counts })
}

/// The VM that is the target after the run.
fn target(site: &Site<'_>, ran: &Ran) -> Result<String> {
    let moved = ran
        .events()?
        .into_iter()
        .rfind(|e| kind(e) == "target-moved");
    match moved {
        Some(moved) => text(&moved, "to"),
        None => Ok(site.vm.clone()),
    }
}

fn crash(base: &Base, deploy: Deploy, whole: &Whole, nth: usize) -> Result<()> {
    let index = (2 * nth + 1) * whole.places.len() / (2 * deploy.crashes);
    let (function, number) = whole.places.get(index).context("no such place")?;
    let order: Vec<&String> = whole.places.iter().map(|(function, _)| function).collect();
    let rank = |function: &String| order.iter().position(|f| *f == function);
    let site = base.site()?;
    let world = Counted::new(&site)?;
    site.add_task("keep me")?;
    let before = site.head()?;
    let pushed = (deploy.push)(&site.remote)?;
    let mut walk = Walk::default();
    let cut = kill_deploy(&site, deploy.more, |event| {
        walk.place(event).is_some_and(|(now, n)| {
            (now == *function && n >= *number) || rank(&now) > rank(function)
        })
    })?;
    let end = || -> Result<()> {
        let ran = site.vdeploy(&["resume", &cut.run, "--json"])?;
        let vm = ended_well(&site, deploy, &cut, &ran)?;
        let head = vdeploy_tests::binary::git(
            &site.home(&vm)?.join(vdeploy_tests::base::APP),
            &["rev-parse", "HEAD"],
        )?;
        let expected = if deploy.code == 0 { &pushed } else { &before };
        ensure!(head == *expected, "{head} is checked out, not {expected}");
        world.no_build_runs()?;
        let counts = world.counts(&vm)?;
        ensure!(
            counts == whole.counts,
            "counted {counts:?}, and without a crash {:?}",
            whole.counts
        );
        Ok(())
    };
    end().with_context(|| {
        let shown = site.vdeploy(&["runs", "show", &cut.run]);
        let shown = shown.map_or_else(|e| e.to_string(), |ran| ran.text());
        format!(
            "killed in {function} at {number}, after {}\n{shown}",
            cut.at
        )
    })
}

/// The run says the truth about its end, and has left nothing behind. Returns
/// the VM that is the target.
fn ended_well(site: &Site<'_>, deploy: Deploy, cut: &Cut, ran: &Ran) -> Result<String> {
    let shown = site
        .vdeploy(&["runs", "show", &cut.run, "--json"])?
        .expect_code(0)?;
    let shown: Value = serde_json::from_str(&shown.stdout)?;
    ensure!(text(&shown, "state")? == deploy.outcome, "{ran:?}\n{shown}");
    if ran.code != deploy.code {
        // It was killed after its last word was written.
        let said = format!("it has ended: {}", deploy.outcome);
        ran.clone().expect_code(2)?.expect_text(&said)?;
    }
    let journal = shown.get("journal").and_then(Value::as_array);
    let moved = journal.into_iter().flatten().rev().find_map(|stored| {
        let entry = stored.get("entry")?;
        let is_move = entry.get("entry").and_then(Value::as_str) == Some("target-moved");
        is_move.then(|| text(entry, "to"))
    });
    let vm = moved.transpose()?.unwrap_or_else(|| site.vm.clone());
    ensure!((vm != site.vm) == deploy.moves, "the target is {vm}");
    let live = site.version_on(&vm);
    ensure!(
        live.as_deref() == Some(deploy.live),
        "live: {live:?}\n{ran:?}"
    );
    let (status, board) = site.get(&vm, "/board/tasks", Some(TOKEN))?;
    ensure!(
        status == 200 && board.contains("keep me"),
        "{status} {board}"
    );
    let jobs = site.home(&vm)?.join(".vdeploy/jobs").join(&cut.run);
    ensure!(!jobs.exists(), "{} is left\n{ran:?}", jobs.display());
    let lease = site.vdeploy(&["lease", "show", "--json"])?.expect_code(0)?;
    let lease: Value = serde_json::from_str(&lease.stdout)?;
    ensure!(lease.get("held") == Some(&false.into()), "{lease}");
    Ok(vm)
}
