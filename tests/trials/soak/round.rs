//! One deploy with its fault, on the one target of the soak, and what must be
//! true after each.

use crate::soak::fault::{ANY, CHANGING, Fault, Place, bad_app};
use crate::soak::watched::{Watched, watch};
use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use vdeploy_tests::base::{TOKEN, text, wait_for};
use vdeploy_tests::{Base, Ran, Site, Wire};

/// The target, and what is known of it.
pub struct Ground<'a> {
    pub base: &'a Base,
    /// Its VM is the target now.
    pub site: Site<'a>,
    /// Where the host keeps what is temporary.
    pub tmp: PathBuf,
    wire: Wire,
    rng: Rng,
    number: usize,
    /// The version that answers.
    live: String,
    /// Runs that nobody comes back for.
    pub given_up: BTreeSet<String>,
    /// VMs that were deleted.
    pub gone: BTreeSet<String>,
    /// The most memory of each run since it was asked for, in KiB.
    pub peaks: Vec<u64>,
    /// How long each undisturbed deploy took.
    pub times: Vec<Duration>,
}

/// So that each smoke test watches the service, if not for long.
const RUN: [&str; 4] = ["run", "--json", "--set", "smoke.stable-seconds=1"];
const PATIENCE: Duration = Duration::from_secs(120);

impl<'a> Ground<'a> {
    pub fn new(base: &'a Base, rng: Rng) -> Result<Self> {
        let site = base.site()?;
        let gateway = text(&base.endpoints()?, "gateway")?;
        let wire = Wire::to(&gateway)?;
        site.write_platform_project(&wire.address, "")?;
        site.add_task("keep me")?;
        let tmp = site.dir().join("tmp");
        std::fs::create_dir(&tmp)?;
        let live = site.version().context("nothing is live")?;
        Ok(Self {
            base,
            site,
            tmp,
            wire,
            rng,
            number: 0,
            live,
            given_up: BTreeSet::new(),
            gone: BTreeSet::new(),
            peaks: Vec::new(),
            times: Vec::new(),
        })
    }

    /// `vdeploy ARGS`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.site.command(args);
        command.env("TMPDIR", &self.tmp);
        command
    }

    pub fn vdeploy(&self, args: &[&str]) -> Result<Ran> {
        Ok(self.command(args).output()?.into())
    }

    /// Deploys something; what came of it.
    pub fn deploy(&mut self, number: usize, fault: Fault) -> Result<String> {
        self.number = number;
        let came = self.perform(fault)?;
        self.look().with_context(|| came.clone())?;
        Ok(came)
    }

    fn perform(&mut self, fault: Fault) -> Result<String> {
        match fault {
            Fault::None => self.good(),
            Fault::NothingNew => self.nothing_new(),
            Fault::BadApp => self.bad(&[]),
            Fault::BadAppToSnapshot => self.bad(&["--rollback-to", "snapshot"]),
            Fault::Killed => {
                let new = self.push_good()?;
                self.killed(&ANY, &new)
            }
            Fault::KilledWithBadApp => {
                let variant = bad_app(&mut self.rng);
                self.site.remote.push_variant(variant)?;
                self.killed(&ANY, &format!("2.0.0-{variant}"))
            }
            Fault::KilledAndRolledBack => self.killed_and_rolled_back(),
            Fault::KilledAndAbandoned => self.killed_and_abandoned(),
            Fault::Interrupted => self.interrupted(&[Signal::INT]),
            Fault::InterruptedTwice => self.interrupted(&[Signal::INT, Signal::TERM]),
            Fault::Cut => self.cut(),
            Fault::TwoAtOnce => self.two_at_once(),
            Fault::RolledBackByGit => self.rolled_back("in-place"),
            Fault::RolledBackToSnapshot => self.rolled_back("snapshot"),
            Fault::RollbackKilled => self.rollback_killed(),
            Fault::LookedAt => self.looked_at(),
        }
    }

    fn push_good(&self) -> Result<String> {
        let version = format!("1.{}.0", self.number);
        let file = format!("export const VERSION: string = \"{version}\";\n");
        let message = format!("version {version}");
        self.site
            .remote
            .push_files(&message, &[("src/version.ts", &file)])?;
        Ok(version)
    }

    /// Watches a command to its end; `now` says when `act` is done to it.
    fn watch(
        &mut self,
        command: Command,
        mut now: impl FnMut(&Value) -> bool,
        act: impl Fn(u32) -> Result<()>,
    ) -> Result<(Watched, bool)> {
        let mut acted = false;
        let watched = watch(command, |event, pid| {
            if !acted && now(event) {
                acted = true;
                act(pid)?;
            }
            Ok(())
        })?;
        self.peaks.extend(watched.peak);
        Ok((watched, acted))
    }

    fn run(&mut self, more: &[&str]) -> Result<Watched> {
        let command = self.command(&[&RUN[..], more].concat());
        Ok(self.watch(command, |_| false, |_| Ok(()))?.0)
    }

    /// A run that must end so.
    fn expect(&mut self, more: &[&str], code: i32, outcome: &str) -> Result<Watched> {
        let watched = self.run(more)?;
        ends(&watched, code, outcome)?;
        Ok(watched)
    }

    fn good(&mut self) -> Result<String> {
        let new = self.push_good()?;
        let watched = self.expect(&[], 0, "deployed")?;
        self.times.push(watched.took);
        self.live = new;
        Ok(format!("{} is live", self.live))
    }

    fn nothing_new(&mut self) -> Result<String> {
        // What the branch has may be one that was rolled back.
        if !self.is_newest_live()? {
            self.good()?;
        }
        let watched = self.expect(&[], 0, "deployed")?;
        let end = watched.ran.event("run-finished")?;
        ensure!(end.get("unchanged") == Some(&true.into()), "{end}");
        self.push_good()?;
        self.expect(&["--dry-run"], 0, "rehearsed")?;
        Ok("nothing was done".to_owned())
    }

    fn is_newest_live(&self) -> Result<bool> {
        let remote = vdeploy_tests::binary::git(self.site.remote.path(), &["rev-parse", "main"])?;
        Ok(remote == self.site.head()?)
    }

    fn bad(&mut self, more: &[&str]) -> Result<String> {
        let variant = bad_app(&mut self.rng);
        self.site.remote.push_variant(variant)?;
        let watched = self.expect(more, 11, "rolled-back")?;
        self.follow(watched.run.as_deref())?;
        Ok(format!("{variant} was rolled back"))
    }

    /// Killed somewhere, unless it ends before; none for that.
    fn kill_run(&mut self, steps: &[&'static str]) -> Result<(Watched, bool)> {
        let place = Place::random(&mut self.rng, steps);
        let command = self.command(&RUN);
        let (watched, _) = self.watch(command, place.reached(), |pid| send(pid, Signal::KILL))?;
        let killed = watched.ran.code == -1;
        Ok((watched, killed))
    }

    fn killed(&mut self, steps: &[&'static str], new: &str) -> Result<String> {
        let (watched, killed) = self.kill_run(steps)?;
        let run = watched.run.clone().context("no run began")?;
        if !killed {
            self.settled(&run, new)?;
            return Ok("it ended before it was killed".to_owned());
        }
        let resumed = self.resume(&run)?;
        self.settled(&run, new)?;
        Ok(format!("killed, resumed ({resumed})"))
    }

    /// Goes on with it; the code.
    fn resume(&mut self, run: &str) -> Result<i32> {
        let command = self.command(&["resume", run, "--json"]);
        let (resumed, _) = self.watch(command, |_| false, |_| Ok(()))?;
        let ran = &resumed.ran;
        match ran.code {
            0 | 11 => {}
            // It was killed after its last word.
            2 => drop(ran.clone().expect_text("it has ended")?),
            _ => bail!("it was not resumed: {}", ran.text()),
        }
        Ok(ran.code)
    }

    /// What the store says of the end of a run is what is live.
    fn settled(&mut self, run: &str, new: &str) -> Result<String> {
        let shown = self
            .vdeploy(&["runs", "show", run, "--json"])?
            .expect_code(0)?;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        let state = text(&shown, "state")?;
        match &*state {
            "deployed" => {
                ensure!(!new.starts_with('2'), "a bad app was deployed: {new}");
                new.clone_into(&mut self.live);
            }
            "rolled-back" => {}
            _ => bail!("run {run} is {state}"),
        }
        self.follow(Some(run))?;
        Ok(state)
    }

    fn killed_and_rolled_back(&mut self) -> Result<String> {
        let new = self.push_good()?;
        let (watched, killed) = self.kill_run(&CHANGING)?;
        let run = watched.run.context("no run began")?;
        if !killed {
            self.live = new;
            return Ok("it ended before it was killed".to_owned());
        }
        let command = self.command(&["rollback", &run, "--wait", "120", "--json"]);
        let (back, _) = self.watch(command, |_| false, |_| Ok(()))?;
        ends(&back, 0, "deployed")?;
        self.given_up.insert(run);
        Ok("killed, rolled back".to_owned())
    }

    fn killed_and_abandoned(&mut self) -> Result<String> {
        let new = self.push_good()?;
        let (watched, killed) = self.kill_run(&CHANGING)?;
        let run = watched.run.context("no run began")?;
        if killed {
            let args = ["abandon", &run, "--reason", "of the soak"];
            // The dead process holds the target until its lease ends.
            let ran = wait_for("the lease of a dead run", PATIENCE, || {
                let ran = self.vdeploy(&args);
                (!matches!(&ran, Ok(ran) if ran.code == 20)).then_some(ran)
            })??;
            ensure!([0, 2].contains(&ran.code), "{ran:?}");
            self.given_up.insert(run);
            self.expect(&["--wait", "120"], 0, "deployed")?;
        }
        self.live = new;
        Ok("killed, abandoned, begun again".to_owned())
    }

    fn interrupted(&mut self, signals: &[Signal]) -> Result<String> {
        let new = self.push_good()?;
        let place = Place::random(&mut self.rng, &ANY);
        let command = self.command(&RUN);
        let send_all = |pid| signals.iter().try_for_each(|signal| send(pid, *signal));
        let (watched, sent) = self.watch(command, place.reached(), send_all)?;
        let run = watched.run.context("no run began")?;
        let code = watched.ran.code;
        ensure!([0, 11, 40].contains(&code), "{}", watched.ran.text());
        let mut came = format!("ended with {code}");
        if code == 40 {
            ensure!(sent, "nobody interrupted it: {}", watched.ran.text());
            came = format!("{came}, resumed ({})", self.resume(&run)?);
        }
        Ok(format!("{came}: {}", self.settled(&run, &new)?))
    }

    fn cut(&mut self) -> Result<String> {
        let new = self.push_good()?;
        let command = self.command(&RUN);
        let mut left = 4;
        let (mut rng, mut cut) = (self.rng.fork(), 0);
        let watched = watch(command, |event, _| {
            let call = event.get("type").and_then(Value::as_str) == Some("call-started");
            if call && left > 0 && rng.u8(..6) == 0 {
                left -= 1;
                cut += self.wire.cut();
            }
            Ok(())
        })?;
        ends(&watched, 0, "deployed")?;
        self.live = new;
        Ok(format!("{cut} connections were cut"))
    }

    fn two_at_once(&mut self) -> Result<String> {
        let new = self.push_good()?;
        let command = self.command(&RUN);
        let again = || self.command(&RUN);
        let mut waiting = self.command(&RUN);
        waiting.args(["--wait", "600"]);
        let mut waiting = Some(waiting);
        let mut others = None;
        let first = watch(command, |event, _| {
            let begun = event.get("type").and_then(Value::as_str) == Some("step-started");
            if let (true, Some(mut waits)) = (begun, waiting.take_if(|_| begun)) {
                let third = std::thread::spawn(move || waits.output());
                others = Some((Ran::from(again().output()?), third));
            }
            Ok(())
        })?;
        ends(&first, 0, "deployed")?;
        let (second, third) = others.context("no step began")?;
        // It may have been slower than the first one.
        ensure!([20, 0].contains(&second.code), "{}", second.text());
        let third = third
            .join()
            .map_err(|_| anyhow::anyhow!("no third run"))??;
        Ran::from(third).expect_code(0)?;
        self.live = new;
        Ok(format!("the second one ended with {}", second.code))
    }

    fn rolled_back(&mut self, to: &str) -> Result<String> {
        let before = self.live.clone();
        let (run, _) = self.deployed()?;
        let command = self.command(&["rollback", &run, "--to", to, "--json"]);
        let (back, _) = self.watch(command, |_| false, |_| Ok(()))?;
        ends(&back, 0, "deployed")?;
        self.live = before;
        self.follow(back.run.as_deref())?;
        Ok(format!("deployed, rolled back by {to}"))
    }

    fn deployed(&mut self) -> Result<(String, String)> {
        let new = self.push_good()?;
        let watched = self.expect(&[], 0, "deployed")?;
        self.live.clone_from(&new);
        Ok((watched.run.context("no run began")?, new))
    }

    fn rollback_killed(&mut self) -> Result<String> {
        let before = self.live.clone();
        let (first, _) = self.deployed()?;
        let to = self
            .rng
            .choice(["in-place", "snapshot"])
            .unwrap_or("in-place");
        let command = self.command(&["rollback", &first, "--to", to, "--json"]);
        let mut left = self.rng.usize(..40);
        let mut begun = false;
        let now = move |event: &Value| {
            begun |= event.get("type").and_then(Value::as_str) == Some("step-started");
            left = left.saturating_sub(usize::from(begun));
            begun && left == 0
        };
        let (watched, _) = self.watch(command, now, |pid| send(pid, Signal::KILL))?;
        let run = watched.run.clone().context("no run began")?;
        if watched.ran.code == -1 {
            self.resume(&run)?;
        } else {
            ends(&watched, 0, "deployed")?;
        }
        self.live = before;
        self.follow(Some(&run))?;
        Ok(format!("a rollback by {to} was killed and resumed"))
    }

    fn looked_at(&mut self) -> Result<String> {
        let (run, _) = self.deployed()?;
        let list = self.vdeploy(&["runs", "list", "--json"])?.expect_code(0)?;
        list.expect_text(&run)?;
        self.vdeploy(&["runs", "show", &run])?.expect_code(0)?;
        let file = self.site.dir().join("run.jsonl");
        let out = file.display().to_string();
        self.vdeploy(&["runs", "export", &run, "--out", &out])?
            .expect_code(0)?;
        self.vdeploy(&["replay", &out])?.expect_code(0)?;
        std::fs::remove_file(file)?;
        Ok("listed, shown, exported, replayed".to_owned())
    }

    /// Where the target went in this run. The VM that was left is deleted, as
    /// an operator does when it is not needed.
    fn follow(&mut self, run: Option<&str>) -> Result<()> {
        let run = run.context("no run began")?;
        let shown = self
            .vdeploy(&["runs", "show", run, "--json"])?
            .expect_code(0)?;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        let journal = shown.get("journal").and_then(Value::as_array);
        let moved = journal.into_iter().flatten().rev().find_map(|stored| {
            let entry = stored.get("entry")?;
            let is_move = entry.get("entry").and_then(Value::as_str) == Some("target-moved");
            is_move.then(|| text(entry, "to"))
        });
        let Some(to) = moved.transpose()? else {
            return Ok(());
        };
        let old = std::mem::replace(&mut self.site.vm, to);
        self.base.api("DELETE", &format!("/vm/{old}"), None)?;
        self.gone.insert(old);
        Ok(())
    }

    /// What must be true after each deploy.
    fn look(&mut self) -> Result<()> {
        let answers = wait_for("an answer of the service", PATIENCE, || self.site.version())?;
        ensure!(answers == self.live, "{answers} is live, not {}", self.live);
        let (status, board) = self.site.get(&self.site.vm, "/board/tasks", Some(TOKEN))?;
        ensure!(
            status == 200 && board.contains("keep me"),
            "{status} {board}"
        );
        let (status, _) = self.site.get(&self.site.vm, "/board/tasks", None)?;
        ensure!(status == 401, "without a token: {status}");
        let lease = self.vdeploy(&["lease", "show", "--json"])?.expect_code(0)?;
        let lease: Value = serde_json::from_str(&lease.stdout)?;
        let free =
            lease.get("held") == Some(&false.into()) && lease.get("store") == Some(&Value::Null);
        ensure!(free, "the target is held: {lease}");
        // The ends of connections that are closed already.
        self.wire.cut();
        self.forget_snapshots()
    }

    /// Copies of a VM take room: none is needed by the next deploy.
    fn forget_snapshots(&self) -> Result<()> {
        let list = self.base.api("GET", "/commits?limit=1000", None)?;
        let commits = list.get("commits").and_then(Value::as_array);
        for commit in commits.into_iter().flatten() {
            let id = text(commit, "commit_id")?;
            // The cloud keeps what a VM was made of.
            drop(self.base.api("DELETE", &format!("/commits/{id}"), None));
        }
        Ok(())
    }
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process")?;
    match kill_process(pid, signal) {
        // It may have ended meanwhile.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn ends(watched: &Watched, code: i32, outcome: &str) -> Result<()> {
    watched.ran.clone().expect_code(code)?;
    let found = watched.outcome();
    ensure!(
        found.as_deref() == Some(outcome),
        "{found:?} instead of {outcome}"
    );
    Ok(())
}
