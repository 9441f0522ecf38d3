//! VMs that are home directories on this machine, in which the script runs for
//! real.

use super::super::script::{Answer, Ask, ClaimId, ask};
use super::super::*;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use vdeploy_core::capability::ssh::{Command, LiveOutput, Output};
use vdeploy_core::capability::{EffectError, ErrorKind};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const LONG: Duration = Duration::from_secs(60);

/// What is late of a command, until it is told to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Late {
    /// The command itself.
    Question,
    /// Only what it says.
    Answer,
    /// The command, and who has sent it is disconnected at once.
    CutOff,
}

/// Commands of one verb that are late. As with sshd, what was sent is done,
/// whoever still waits for it.
#[derive(Debug)]
pub(super) struct HeldBack {
    verb: &'static str,
    what: Late,
    sent: Semaphore,
    may_go: Semaphore,
    done: Semaphore,
}

impl HeldBack {
    /// One was sent.
    pub(super) async fn sent(&self) {
        passed(&self.sent).await;
    }

    /// One may go on.
    pub(super) fn go(&self) {
        self.may_go.add_permits(1);
    }

    /// One has been done on the VM.
    pub(super) async fn done(&self) {
        passed(&self.done).await;
    }
}

async fn passed(point: &Semaphore) {
    let permit = timeout(PATIENCE, point.acquire()).await.unwrap();
    permit.unwrap().forget();
}

/// Runs commands on this machine, in the home of the VM that is the target.
#[derive(Debug)]
pub(super) struct Homes {
    dir: TempDir,
    pub(super) target: TargetHandle,
    pub(super) away: AtomicBool,
    pub(super) hangs: AtomicBool,
    /// Milliseconds before a command begins.
    pub(super) slow: AtomicU64,
    pub(super) calls: AtomicUsize,
    called: Notify,
    late: Mutex<Option<Arc<HeldBack>>>,
    /// The last claim of each run.
    claims: Mutex<BTreeMap<String, ClaimId>>,
}

impl Homes {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            dir: TempDir::new().unwrap(),
            target: TargetHandle::vers("infra".into(), "one".into(), "https://{vm}"),
            away: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            slow: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            called: Notify::new(),
            late: Mutex::default(),
            claims: Mutex::default(),
        })
    }

    /// From now on the next command with this verb is late.
    pub(super) fn hold_back(&self, verb: &'static str, what: Late) -> Arc<HeldBack> {
        let held = Arc::new(HeldBack {
            verb,
            what,
            sent: Semaphore::new(0),
            may_go: Semaphore::new(0),
            done: Semaphore::new(0),
        });
        *self.late.lock().unwrap() = Some(held.clone());
        held
    }

    pub(super) fn home(&self, vm: &str) -> PathBuf {
        self.dir.path().join(vm)
    }

    pub(super) fn records(&self, vm: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.home(vm).join(".vdeploy-lease")) else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_record = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("r.") && path.is_symlink()
        };
        paths.filter(is_record).collect()
    }

    /// Sets the end of the lease, in seconds from now.
    pub(super) fn end_in(&self, vm: &str, seconds: i64) {
        let records = self.records(vm);
        assert_eq!(records.len(), 1, "{records:?}");
        let old = std::fs::read_link(&records[0]).unwrap();
        let old = old.to_str().unwrap();
        let (kept, _) = old.rsplit_once(':').unwrap();
        let now = jiff::Timestamp::now().as_second();
        std::fs::remove_file(&records[0]).unwrap();
        std::os::unix::fs::symlink(format!("{kept}:{}", now + seconds), &records[0]).unwrap();
    }

    pub(super) fn claim(self: &Arc<Self>, run: &str, ttl: Duration) -> Claim {
        Claim {
            ssh: self.clone(),
            target: self.target.clone(),
            run: run.into(),
            who: Actor::named(format!("who of {run}")),
            ttl,
            absence: Absence::Loses,
        }
    }

    /// The lease of a run that gets it.
    pub(super) async fn acquire(self: &Arc<Self>, run: &str, ttl: Duration) -> TargetLease {
        let lease = TargetLease::acquire(self.claim(run, ttl)).await;
        lease.unwrap().unwrap()
    }

    /// Takes it for a process of the run that asks for the first time.
    pub(super) async fn take(&self, run: &str) -> Answer {
        let claim = ClaimId::generate();
        self.keep(run, &claim);
        self.take_as(run, &claim).await
    }

    fn keep(&self, run: &str, claim: &ClaimId) {
        let mut claims = self.claims.lock().unwrap();
        claims.insert(run.to_owned(), claim.clone());
    }

    pub(super) async fn take_as(&self, run: &str, claim: &ClaimId) -> Answer {
        let (run, who) = (&RunId::from(run), &Actor::named(format!("who of {run}")));
        let take = Ask::Take {
            run,
            least: 0,
            who,
            claim,
        };
        self.ask(take).await
    }

    /// The claim of the process of the run that took it last.
    pub(super) fn claim_of(&self, run: &str) -> ClaimId {
        self.claims.lock().unwrap()[run].clone()
    }

    /// Gives back what that process has.
    pub(super) async fn release(&self, run: &str) -> Answer {
        let (claim, run) = (&self.claim_of(run), &RunId::from(run));
        self.ask(Ask::Release { run, claim }).await
    }

    pub(super) async fn ask(&self, what: Ask<'_>) -> Answer {
        ask(self, what, LONG, LONG).await.unwrap()
    }

    pub(super) async fn calls_beyond(&self, count: usize) {
        let waiting = async {
            loop {
                let called = self.called.notified();
                if self.calls.load(Ordering::SeqCst) > count {
                    return;
                }
                called.await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap();
    }
}

#[async_trait]
impl Ssh for Homes {
    async fn connect(&self) -> Result<(), EffectError> {
        Ok(())
    }

    async fn run(&self, command: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        let home = self.home(self.target.facts().vm.unwrap().as_str());
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.called.notify_one();
        if self.away.load(Ordering::SeqCst) {
            let kind = ErrorKind::Unavailable;
            return Err(EffectError::new(kind, "ssh.unreachable", "disconnected"));
        }
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(self.slow.load(Ordering::SeqCst))).await;
        let late = {
            let mut late = self.late.lock().unwrap();
            let asked = command.args.get(2).map(String::as_str);
            late.take_if(|late| asked == Some(late.verb))
        };
        let Some(late) = late else {
            return done_in(home, command.clone()).await;
        };
        let (held, command) = (late.clone(), command.clone());
        let doing = tokio::spawn(async move {
            if held.what != Late::Answer {
                held.may_go.acquire().await.unwrap().forget();
            }
            let output = done_in(home, command).await;
            held.done.add_permits(1);
            if held.what == Late::Answer {
                held.may_go.acquire().await.unwrap().forget();
            }
            output
        });
        late.sent.add_permits(1);
        if late.what == Late::CutOff {
            let error = EffectError::new(ErrorKind::Unavailable, "ssh.closed", "disconnected");
            return Err(error.in_doubt());
        }
        doing.await.unwrap()
    }

    async fn close(&self) {}
}

async fn done_in(home: PathBuf, command: Command) -> Result<Output, EffectError> {
    std::fs::create_dir_all(&home).unwrap();
    let done = tokio::task::spawn_blocking(move || run_in(&home, &command));
    Ok(done.await.unwrap())
}

fn run_in(home: &Path, command: &Command) -> Output {
    let mut child = std::process::Command::new(&command.program)
        .args(&command.args)
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&command.stdin).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Output {
        exit_code: output.status.code().and_then(|code| code.try_into().ok()),
        stdout: output.stdout,
        stderr: output.stderr,
        ..Output::default()
    }
}

/// Taken while nobody else had lost it.
pub(super) fn taken(token: u64) -> Answer {
    taken_after(token, &[])
}

/// Taken after runs that had lost it.
pub(super) fn taken_after(token: u64, left: &[&str]) -> Answer {
    let left = left.iter().map(|run| RunId::from(*run)).collect();
    Answer::Taken {
        token,
        changed: None,
        left,
    }
}

/// How many of the answers took the lease; the others name its holder.
pub(super) fn winners(answers: &[Answer]) -> usize {
    let mut taken = 0;
    for answer in answers {
        match answer {
            Answer::Taken { .. } => taken += 1,
            Answer::Held(_) => {}
            other => panic!("{other:?}"),
        }
    }
    taken
}
