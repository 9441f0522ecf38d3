//! VMs that are home directories on this machine, in which the script runs for
//! real.

use super::super::script::{Answer, Ask, ask};
use super::super::*;
use crate::capability::ssh::{Command, LiveOutput, Output};
use crate::capability::{EffectError, ErrorKind};
use async_trait::async_trait;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::sync::Notify;

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const LONG: Duration = Duration::from_secs(60);

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
        })
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
            who: format!("who of {run}"),
            ttl,
            absence: Absence::Loses,
        }
    }

    pub(super) async fn take(&self, run: &str) -> Answer {
        let (run, who) = (&RunId::from(run), &*format!("who of {run}"));
        self.ask(Ask::Take { run, least: 0, who }).await
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
            return Err(EffectError::new(kind, "ssh.unreachable", "cut off"));
        }
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(self.slow.load(Ordering::SeqCst))).await;
        std::fs::create_dir_all(&home).unwrap();
        let command = command.clone();
        tokio::task::spawn_blocking(move || {
            let mut child = std::process::Command::new(&command.program)
                .args(&command.args)
                .env("HOME", &home)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(&command.stdin)
                .unwrap();
            let output = child.wait_with_output().unwrap();
            Ok(Output {
                exit_code: output.status.code().and_then(|code| code.try_into().ok()),
                stdout: output.stdout,
                stderr: output.stderr,
                ..Output::default()
            })
        })
        .await
        .unwrap()
    }

    async fn close(&self) {}
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
