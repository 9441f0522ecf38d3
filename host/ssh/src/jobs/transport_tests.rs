//! Exactly once over a transport of local processes, without an SSH library:
//! the connection breaks after every number of events.

use super::{DetachedJobs, Jobs};
use crate::testing::fixture::shell;
use crate::transport::{
    Channel, ChannelEvent, ChannelReader, ChannelWriter, Disconnected, Endpoint, Link, OpenError,
    Transport,
};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use vdeploy_core::capability::ssh::{Command, JobId, NoLiveOutput, Output, Stream};
use vdeploy_core::capability::{EffectError, ErrorKind};

/// A target on this machine: a home directory.
struct Local {
    home: PathBuf,
    /// Events that the next channels show before they break; then none breaks.
    cuts: Mutex<VecDeque<usize>>,
    opened: AtomicUsize,
    marked_dead: Arc<AtomicUsize>,
}

type Stdin = Arc<tokio::sync::Mutex<Option<ChildStdin>>>;

#[async_trait]
impl Transport for Local {
    fn endpoint(&self) -> Result<Endpoint, EffectError> {
        Ok(Endpoint::Server("local".into()))
    }

    fn was_reached(&self) -> bool {
        true
    }

    async fn open_channel(&self, _: &Endpoint) -> Result<Channel, OpenError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let left = self.cuts.lock().unwrap().pop_front();
        let (sender, events) = mpsc::unbounded_channel();
        let stdin = Stdin::default();
        Ok(Channel {
            link: Box::new(DeadCount(self.marked_dead.clone())),
            reader: Box::new(Reader {
                events,
                left: left.unwrap_or(usize::MAX),
                stdin: stdin.clone(),
            }),
            writer: Box::new(Writer {
                home: self.home.clone(),
                sender,
                stdin,
            }),
        })
    }

    async fn probe(&self, _: &Command) -> Result<Output, EffectError> {
        Err(EffectError::new(ErrorKind::Failed, "test", "no probes"))
    }
}

struct DeadCount(Arc<AtomicUsize>);

impl Link for DeadCount {
    fn mark_active(&self) {}
    fn mark_dead(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn open_ahead(&self) {}
}

struct Reader {
    events: mpsc::UnboundedReceiver<ChannelEvent>,
    left: usize,
    stdin: Stdin,
}

#[async_trait]
impl ChannelReader for Reader {
    async fn next(&mut self) -> Option<ChannelEvent> {
        if self.left == 0 {
            // As sshd does it: what ran on the connection has no input any more.
            self.stdin.lock().await.take();
            return None;
        }
        let event = self.events.recv().await?;
        self.left -= 1;
        Some(event)
    }
}

struct Writer {
    home: PathBuf,
    sender: mpsc::UnboundedSender<ChannelEvent>,
    stdin: Stdin,
}

#[async_trait]
impl ChannelWriter for Writer {
    async fn exec(&self, line: &str) -> Result<(), Disconnected> {
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", &format!("cd; {line}")])
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|_| Disconnected)?;
        *self.stdin.lock().await = child.stdin.take();
        let out = tokio::spawn(pump(
            child.stdout.take(),
            Stream::Stdout,
            self.sender.clone(),
        ));
        let err = tokio::spawn(pump(
            child.stderr.take(),
            Stream::Stderr,
            self.sender.clone(),
        ));
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let _ = (out.await, err.await);
            if let Ok(status) = child.wait().await {
                let code = status.code().unwrap_or(255);
                let _ = sender.send(ChannelEvent::ExitStatus(code.unsigned_abs()));
            }
            let _ = sender.send(ChannelEvent::Closed);
        });
        Ok(())
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), Disconnected> {
        match self.stdin.lock().await.as_mut() {
            Some(stdin) => stdin.write_all(bytes).await.map_err(|_| Disconnected),
            None => Err(Disconnected),
        }
    }

    async fn close(&self) {
        self.stdin.lock().await.take();
    }
}

async fn pump(
    from: Option<impl AsyncRead + Unpin>,
    stream: Stream,
    to: mpsc::UnboundedSender<ChannelEvent>,
) {
    let Some(mut from) = from else { return };
    let mut piece = [0; 16];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let _ = to.send(ChannelEvent::Output(stream, piece[..count].to_vec()));
    }
}

/// Runs one change; the channels break as `cuts` says. Its output, how often it
/// began, and how many channels it took.
async fn run(cuts: &[usize]) -> (Output, usize, usize) {
    let home = tempfile::tempdir().unwrap();
    let local = Local {
        home: home.path().to_owned(),
        cuts: Mutex::new(cuts.iter().copied().collect()),
        opened: AtomicUsize::new(0),
        marked_dead: Arc::default(),
    };
    let detached = DetachedJobs::default();
    let jobs = Jobs {
        transport: &local,
        detached: &detached,
    };
    let job = JobId {
        run: "RUN".into(),
        effect: 1,
    };
    let mut command = shell("cd; echo ran >>runs; cat; echo err >&2; sleep 0.2; exit 3");
    command.stdin = b"a line of input\n".to_vec();
    let output = jobs.run(&command, &job, &NoLiveOutput).await.unwrap();
    let opened = local.opened.load(Ordering::Relaxed);
    let dead = local.marked_dead.load(Ordering::Relaxed);
    assert_eq!(dead, opened - 1, "each broken channel marks its connection");
    let runs = std::fs::read_to_string(home.path().join("runs")).unwrap();
    (output, runs.lines().count(), opened)
}

#[tokio::test]
async fn a_job_runs_once_wherever_the_connection_breaks() {
    let (whole, runs, channels) = run(&[]).await;
    assert_eq!((runs, channels), (1, 1));
    assert_eq!(whole.exit_code, Some(3));
    assert_eq!(whole.stdout, b"a line of input\n");
    assert_eq!(whole.stderr, b"err\n");
    let mut most = 1;
    for cut in 0..16 {
        for cuts in [vec![cut], vec![cut, 1, 2]] {
            let (output, runs, channels) = run(&cuts).await;
            assert_eq!((output, runs), (whole.clone(), 1), "{cuts:?}");
            assert!(cut > 0 || channels > 1, "{cuts:?}");
            most = most.max(channels);
        }
    }
    // On a slow machine a channel more may be opened.
    assert!(most >= 4, "every cut of a row happened at least once");
}
