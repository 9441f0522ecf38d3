//! A job as one channel shows it: tells the script on the target what to do and
//! takes its answers out of the output. Knows nothing of reconnecting.

use super::output::JobOutput;
use super::protocol::{MarkedLines, Piece};
use super::request::{stop_line, tick_line};
use crate::transport::{Channel, ChannelEvent, ChannelReader, ChannelWriter, Link};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use vdeploy_core::capability::ssh::{LiveOutput, NoLiveOutput, Stream};

/// How often the target is polled for more output: at first and while there is
/// some.
const POLL_MIN: Duration = Duration::from_millis(150);
/// The same while the job is quiet.
const POLL_MAX: Duration = Duration::from_secs(1);
/// A line that takes longer to send means that the connection is dead.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The script sends TERM and waits 2 s, sends KILL and waits 2 s, and looks at
/// all processes.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// Bytes kept of what a login shell prints before the script begins.
const MAX_NOISE: usize = 400;

/// How a job ended, as the script reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// With a status; `by` says who stopped it, if it was stopped.
    Ended { status: u32, by: Option<String> },
    /// Its status cannot be known any more.
    Lost { running: bool },
}

/// Why a channel shows nothing more.
#[derive(Debug)]
pub(super) enum ChannelEnd {
    Job(JobEnd),
    /// It could not start, for this reason.
    Failed(String),
    /// It has not started and may start now: the target gave up its reserve of
    /// disk space.
    StartAgain,
    /// The server runs no commands.
    Refused,
    /// The script ended without a word. `noise` is what the shell printed
    /// instead; `failed` whether its status says that the script failed.
    Silent {
        noise: String,
        failed: bool,
    },
    /// The connection was lost.
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
    link: Box<dyn Link>,
    reader: Box<dyn ChannelReader>,
    writer: Box<dyn ChannelWriter>,
    mark: String,
    script: ScriptState,
}

/// What the script has reported so far.
#[derive(Default)]
struct ScriptState {
    begun: Begun,
    over: [Option<JobEnd>; 2],
    failed: Option<String>,
    again: bool,
    /// The answer to a stop: whether the job has ended.
    stopped: Option<bool>,
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
    /// Runs `line` on a fresh channel. `None` when the connection is dead.
    pub(super) async fn start(channel: Channel, mark: String, line: String) -> Option<Self> {
        let Channel {
            link,
            reader,
            writer,
        } = channel;
        if !matches!(timeout(SEND_TIMEOUT, writer.exec(&line)).await, Ok(Ok(()))) {
            link.mark_dead();
            return None;
        }
        link.open_ahead();
        Some(Self {
            link,
            reader,
            writer,
            mark,
            script: ScriptState::default(),
        })
    }

    /// Whether the job has started, on this connection or before.
    pub(super) fn has_begun(&self) -> bool {
        self.script.begun.out || self.script.begun.err
    }

    /// Sends `stdin` and shows the job until it ends or the channel does.
    pub(super) async fn follow(
        &mut self,
        stdin: &[u8],
        limits: JobLimits,
        output: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> ChannelEnd {
        let end = self.follow_events(stdin, limits, output, live).await;
        match &end {
            ChannelEnd::Dropped => self.link.mark_dead(),
            ChannelEnd::Job(_) => self.link.mark_active(),
            _ => {}
        }
        end
    }

    async fn follow_events(
        &mut self,
        stdin: &[u8],
        limits: JobLimits,
        output: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> ChannelEnd {
        let Self {
            reader,
            writer,
            mark,
            script,
            ..
        } = self;
        let writer = &**writer;
        let feed = async {
            // An error here shows up as the end of the reading half.
            if !stdin.is_empty() {
                let _ = writer.send(stdin).await;
            }
        };
        tokio::pin!(feed);
        let mut fed = false;
        let mut outputs = Outputs::new(mark);
        let mut quiet_since = Instant::now();
        let mut pause = POLL_MIN;
        let mut poll_at = None;
        loop {
            let quiet_until = limits
                .idle
                .and_then(|idle| quiet_since.checked_add(idle))
                .unwrap_or(limits.deadline);
            let begun = script.begun.out;
            if begun && poll_at.is_none() {
                poll_at = Some(Instant::now() + pause);
            }
            tokio::select! {
                event = reader.next() => {
                    let Some(event) = event else {
                        return ChannelEnd::Dropped;
                    };
                    if outputs.take(event, script, output, live) {
                        quiet_since = Instant::now();
                        pause = POLL_MIN;
                        poll_at = poll_at.map(|at| at.min(Instant::now() + pause));
                    }
                    if let Some(end) = script.end() {
                        outputs.flush(output, live);
                        return end;
                    }
                },
                () = &mut feed, if !fed => fed = true,
                () = sleep_until(poll_at.unwrap_or(limits.deadline)), if begun => {
                    if !send(writer, tick_line(mark)).await {
                        return ChannelEnd::Dropped;
                    }
                    pause = (pause * 2).min(POLL_MAX);
                    if let Some(idle) = limits.idle {
                        pause = pause.min(idle / 4);
                    }
                    poll_at = Some(Instant::now() + pause);
                }
                () = sleep_until(limits.deadline) => return ChannelEnd::Late(Limit::Total),
                () = sleep_until(quiet_until), if limits.idle.is_some() => {
                    return ChannelEnd::Late(Limit::Idle(limits.idle.unwrap_or_default()));
                }
            }
        }
    }

    /// Stops the command with its whole group. Whether it has ended; `None`
    /// when the target does not answer.
    pub(super) async fn stop(
        &mut self,
        output: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> Option<bool> {
        if !send(&*self.writer, stop_line(&self.mark)).await {
            return None;
        }
        let mut outputs = Outputs::new(&self.mark);
        let answered = async {
            while self.script.stopped.is_none() {
                let event = self.reader.next().await?;
                outputs.take(event, &mut self.script, output, live);
                if self.script.closed {
                    break;
                }
            }
            self.script.stopped
        };
        timeout(STOP_TIMEOUT, answered).await.ok().flatten()
    }

    /// Waits for the answer of a script that was started only to stop the job.
    pub(super) async fn stopped(&mut self) -> Result<bool, String> {
        let mut output = JobOutput::discard();
        let mut outputs = Outputs::new(&self.mark);
        let script = &mut self.script;
        let answered = async {
            while let Some(event) = self.reader.next().await {
                outputs.take(event, script, &mut output, &NoLiveOutput);
                if script.stopped.is_some() || script.closed || script.failed.is_some() {
                    break;
                }
            }
        };
        let _ = timeout(STOP_TIMEOUT, answered).await;
        match (self.script.stopped, self.script.failed.take()) {
            (Some(stopped), _) => Ok(stopped),
            (None, why) => {
                self.link.mark_dead();
                Err(why.unwrap_or_else(|| "the target does not answer".to_owned()))
            }
        }
    }

    /// The connection is dead: the next channel needs a new one.
    pub(super) fn mark_dead(&self) {
        self.link.mark_dead();
    }

    /// Closes the channel: the script on the target ends, the job does not.
    pub(super) async fn close(self) {
        let _ = timeout(SEND_TIMEOUT, self.writer.close()).await;
    }
}

async fn send(writer: &dyn ChannelWriter, line: Vec<u8>) -> bool {
    matches!(timeout(SEND_TIMEOUT, writer.send(&line)).await, Ok(Ok(())))
}

impl Outputs {
    fn new(mark: &str) -> Self {
        Self {
            out: MarkedLines::new(mark),
            err: MarkedLines::new(mark),
        }
    }

    /// Takes one event; whether it had output of the command in it.
    fn take(
        &mut self,
        event: ChannelEvent,
        script: &mut ScriptState,
        output: &mut JobOutput,
        live: &dyn LiveOutput,
    ) -> bool {
        let (stream, data) = match event {
            ChannelEvent::Output(stream, data) => (stream, data),
            ChannelEvent::ExitStatus(status) => {
                script.status = Some(status);
                return false;
            }
            ChannelEvent::Refused => {
                script.refused = true;
                return false;
            }
            ChannelEvent::Closed => {
                script.closed = true;
                return false;
            }
            ChannelEvent::Other => return false,
        };
        let lines = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        let mut has_output = false;
        lines.push(&data, |piece| match piece {
            Piece::Line(line) => script.line(stream, &line),
            Piece::Bytes(bytes) if script.is_output(stream) => {
                has_output = true;
                output.push(stream, bytes);
                live.chunk(stream, bytes);
            }
            Piece::Bytes(bytes) => script.noise(bytes),
        });
        has_output
    }

    /// What was held back is output: nothing more comes.
    fn flush(&mut self, output: &mut JobOutput, live: &dyn LiveOutput) {
        for (marks, stream) in [
            (&mut self.out, Stream::Stdout),
            (&mut self.err, Stream::Stderr),
        ] {
            let rest = marks.rest();
            if !rest.is_empty() {
                output.push(stream, &rest);
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
                self.stopped = Some(word == "gone");
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
        let room = MAX_NOISE.saturating_sub(self.noise.len());
        self.noise.extend(bytes.iter().take(room));
    }

    fn end(&mut self) -> Option<ChannelEnd> {
        if let Some(why) = self.failed.take() {
            return Some(ChannelEnd::Failed(why));
        }
        if self.again {
            return Some(ChannelEnd::StartAgain);
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
