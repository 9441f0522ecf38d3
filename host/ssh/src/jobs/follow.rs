//! A job as one channel shows it: the script on the target is told what to do,
//! and what it says and shows is taken apart. Knows nothing of reconnecting.

use super::output::JobOutput;
use super::protocol::{MarkedLines, Piece};
use super::request::{ask_to_stop, tick};
use crate::connection::connect::Connection;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use vdeploy_core::capability::ssh::{LiveOutput, Stream};

/// How often the target is asked whether there is more output: soon at first
/// and while there is some, less often when there is not.
const SOON: Duration = Duration::from_millis(150);
const SELDOM: Duration = Duration::from_secs(1);
/// Sending a line takes no time while the connection is good.
const SEND: Duration = Duration::from_secs(10);
/// The script asks for 2 s, forces for 2 s, and looks at all processes.
const STOP: Duration = Duration::from_secs(8);
/// Most bytes kept of what a login shell says before the script begins.
const NOISE: usize = 400;

/// How a job ended, as the script says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// With a status, and perhaps because somebody stopped it.
    Ended { status: u32, by: Option<String> },
    /// Nobody can tell its status any more.
    Lost { running: bool },
}

/// Why a channel shows nothing more.
#[derive(Debug)]
pub(super) enum ChannelEnd {
    JobEnd(JobEnd),
    /// It could not be started, for this reason.
    Failed(String),
    /// It was not started and may be now: the target gave up the room that it
    /// had put aside.
    Again,
    /// The server runs no commands.
    Refused,
    /// The script ended without a word; what the shell said instead, and
    /// whether it says that the script failed.
    Silent {
        noise: String,
        failed: bool,
    },
    /// The connection is gone.
    Dropped,
    Late(Limit),
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Total,
    Idle(Duration),
}

/// The limits of a command.
#[derive(Clone, Copy)]
pub(super) struct JobLimits {
    pub(super) deadline: Instant,
    pub(super) idle: Option<Duration>,
}

pub(super) struct Follower {
    /// MaskedCapture so that the channel lives.
    _connection: Arc<Connection>,
    _permit: Option<OwnedSemaphorePermit>,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    mark: String,
    said: ScriptState,
}

/// What the script has said so far.
#[derive(Default)]
struct ScriptState {
    begun: Begun,
    over: [Option<JobEnd>; 2],
    failed: Option<String>,
    again: bool,
    /// The answer to a stop: whether it is gone.
    gone: Option<bool>,
    refused: bool,
    closed: bool,
    status: Option<u32>,
    noise: Vec<u8>,
}

#[derive(Default)]
struct Begun {
    out: bool,
    err: bool,
}

/// Both outputs with the script's lines in them.
struct Outputs {
    out: MarkedLines,
    err: MarkedLines,
}

impl Follower {
    /// Asks for `line` on a fresh channel. `None` when the connection is dead.
    pub(super) async fn begin(
        connection: &Arc<Connection>,
        channel: Channel<Msg>,
        permit: Option<OwnedSemaphorePermit>,
        mark: String,
        line: String,
    ) -> Option<Self> {
        let (read, write) = channel.split();
        timeout(SEND, write.exec(true, line)).await.ok()?.ok()?;
        connection.open_ahead();
        Some(Self {
            _connection: connection.clone(),
            _permit: permit,
            read,
            write,
            mark,
            said: ScriptState::default(),
        })
    }

    /// Whether the job was started, here or before.
    pub(super) fn has_begun(&self) -> bool {
        self.said.begun.out || self.said.begun.err
    }

    /// Shows the job until it is over or nothing more can be shown. `stdin` is
    /// sent first.
    pub(super) async fn follow(
        &mut self,
        stdin: &[u8],
        limits: JobLimits,
        heard: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> ChannelEnd {
        let Self {
            read,
            write,
            mark,
            said,
            ..
        } = self;
        let write = &*write;
        let feed = async {
            // An error here shows up as the end of the reading half.
            if !stdin.is_empty() {
                let _ = write.data(stdin).await;
            }
        };
        tokio::pin!(feed);
        let mut fed = false;
        let mut outputs = Outputs::new(mark);
        let mut quiet_since = Instant::now();
        let mut pause = SOON;
        let mut look_at = None;
        loop {
            let quiet_until = limits
                .idle
                .and_then(|idle| quiet_since.checked_add(idle))
                .unwrap_or(limits.deadline);
            let begun = said.begun.out;
            if begun && look_at.is_none() {
                look_at = Some(Instant::now() + pause);
            }
            tokio::select! {
                message = read.wait() => {
                    let Some(message) = message else {
                        return ChannelEnd::Dropped;
                    };
                    if outputs.take(message, said, heard, live) {
                        quiet_since = Instant::now();
                        pause = SOON;
                        look_at = look_at.map(|at| at.min(Instant::now() + pause));
                    }
                    if let Some(end) = said.end() {
                        outputs.flush(heard, live);
                        return end;
                    }
                },
                () = &mut feed, if !fed => fed = true,
                () = sleep_until(look_at.unwrap_or(limits.deadline)), if begun => {
                    if !send(write, tick(mark)).await {
                        return ChannelEnd::Dropped;
                    }
                    pause = (pause * 2).min(SELDOM);
                    if let Some(idle) = limits.idle {
                        pause = pause.min(idle / 4);
                    }
                    look_at = Some(Instant::now() + pause);
                }
                () = sleep_until(limits.deadline) => return ChannelEnd::Late(Limit::Total),
                () = sleep_until(quiet_until), if limits.idle.is_some() => {
                    return ChannelEnd::Late(Limit::Idle(limits.idle.unwrap_or_default()));
                }
            }
        }
    }

    /// Ends the command with its whole group. Says whether it is gone; `None`
    /// when the target does not answer.
    pub(super) async fn stop(
        &mut self,
        heard: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> Option<bool> {
        if !send(&self.write, ask_to_stop(&self.mark)).await {
            return None;
        }
        let mut outputs = Outputs::new(&self.mark);
        let answered = async {
            while self.said.gone.is_none() {
                outputs.take(self.read.wait().await?, &mut self.said, heard, live);
                if self.said.closed {
                    break;
                }
            }
            self.said.gone
        };
        timeout(STOP, answered).await.ok().flatten()
    }

    /// Waits for the answer of a script that was started only to end the job.
    pub(super) async fn stopped(&mut self) -> Result<bool, String> {
        let nobody = vdeploy_core::capability::ssh::NoLiveOutput;
        let mut heard = JobOutput::nothing();
        let mut outputs = Outputs::new(&self.mark);
        let answered = async {
            while let Some(message) = self.read.wait().await {
                outputs.take(message, &mut self.said, &mut heard, &nobody);
                if self.said.gone.is_some() || self.said.closed || self.said.failed.is_some() {
                    break;
                }
            }
        };
        let _ = timeout(STOP, answered).await;
        match (self.said.gone, self.said.failed.take()) {
            (Some(gone), _) => Ok(gone),
            (None, Some(why)) => Err(why),
            (None, None) => Err("the target does not answer".to_owned()),
        }
    }

    /// Lets go of the channel: the script on the target ends, the job does not.
    pub(super) async fn close(self) {
        let _ = timeout(SEND, self.write.close()).await;
    }
}

async fn send(write: &ChannelWriteHalf<Msg>, line: Vec<u8>) -> bool {
    matches!(timeout(SEND, write.data(line.as_slice())).await, Ok(Ok(())))
}

impl Outputs {
    fn new(mark: &str) -> Self {
        Self {
            out: MarkedLines::new(mark),
            err: MarkedLines::new(mark),
        }
    }

    /// Takes one message; says whether output of the command was in it.
    fn take(
        &mut self,
        message: ChannelMsg,
        said: &mut ScriptState,
        heard: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> bool {
        let (marks, stream, data) = match message {
            ChannelMsg::Data { data } => (&mut self.out, Stream::Stdout, data),
            ChannelMsg::ExtendedData { data, ext: 1 } => (&mut self.err, Stream::Stderr, data),
            ChannelMsg::ExitStatus { exit_status } => {
                said.status = Some(exit_status);
                return false;
            }
            ChannelMsg::Failure => {
                said.refused = true;
                return false;
            }
            ChannelMsg::Close => {
                said.closed = true;
                return false;
            }
            _ => return false,
        };
        let mut output = false;
        marks.push(&data, |piece| match piece {
            Piece::Line(line) => said.line(stream, &line),
            Piece::Bytes(bytes) if said.is_output(stream) => {
                output = true;
                heard.push(stream, bytes);
                live.chunk(stream, bytes);
            }
            Piece::Bytes(bytes) => said.noise(bytes),
        });
        output
    }

    /// What was held back is output: nothing more comes.
    fn flush(&mut self, heard: &mut JobOutput, live: &dyn LiveOutput) {
        for (marks, stream) in [
            (&mut self.out, Stream::Stdout),
            (&mut self.err, Stream::Stderr),
        ] {
            let rest = marks.rest();
            if !rest.is_empty() {
                heard.push(stream, &rest);
                live.chunk(stream, &rest);
            }
        }
    }
}

impl ScriptState {
    fn line(&mut self, stream: Stream, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let over = match word {
            "begin" => {
                match stream {
                    Stream::Stdout => self.begun.out = true,
                    Stream::Stderr => self.begun.err = true,
                }
                return;
            }
            "fail" => {
                self.failed = Some(rest.to_owned());
                return;
            }
            "again" => {
                self.again = true;
                return;
            }
            "gone" | "stays" => {
                self.gone = Some(word == "gone");
                return;
            }
            "end" => ended(rest),
            _ => None,
        };
        let over = over.unwrap_or(JobEnd::Lost {
            running: rest == "running",
        });
        let [out, err] = &mut self.over;
        match stream {
            Stream::Stdout => *out = Some(over),
            Stream::Stderr => *err = Some(over),
        }
    }

    /// Whether bytes of this stream are the command's: after the beginning,
    /// and before the end.
    fn is_output(&self, stream: Stream) -> bool {
        let [out, err] = &self.over;
        match stream {
            Stream::Stdout => self.begun.out && out.is_none(),
            Stream::Stderr => self.begun.err && err.is_none(),
        }
    }

    fn noise(&mut self, bytes: &[u8]) {
        let room = NOISE.saturating_sub(self.noise.len());
        self.noise.extend(bytes.iter().take(room));
    }

    fn end(&mut self) -> Option<ChannelEnd> {
        if let Some(why) = self.failed.take() {
            return Some(ChannelEnd::Failed(why));
        }
        if self.again {
            return Some(ChannelEnd::Again);
        }
        if let [Some(over), Some(_)] = &self.over {
            return Some(ChannelEnd::Job(over.clone()));
        }
        if self.refused {
            return Some(ChannelEnd::Refused);
        }
        self.closed.then(|| ChannelEnd::Silent {
            noise: String::from_utf8_lossy(&self.noise).trim().to_owned(),
            failed: self.status.is_some_and(|status| status != 0),
        })
    }
}

fn ended(text: &str) -> Option<JobEnd> {
    let (status, by) = match text.split_once(' ') {
        Some((status, by)) => (status, Some(by.to_owned())),
        None => (text, None),
    };
    let status = status.parse().ok()?;
    Some(JobEnd::Ended { status, by })
}
