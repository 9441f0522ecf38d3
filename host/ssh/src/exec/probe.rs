//! One probe on one channel, from the request to its end.
//!
//! Whatever ends the wait (a deadline, a dropped future) also stops the command
//! on the target, as far as the target allows it.

use crate::connection::connect::Connection;
use crate::exec::command_line::CommandLine;
use crate::exec::output::{MaskedCapture, refused, with_last_output};
use crate::exec::process_group::{self, GroupFilter};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::capability::ssh::{Command, LiveOutput, Output, Stream};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

/// How long a command may take to end after TERM, and again after KILL.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) enum ProbeEnd {
    /// The server closed the session before it accepted the command.
    NotRun,
    /// The connection was lost before the status of the command arrived.
    Lost(EffectError),
    Done(Result<Output, EffectError>),
}

/// `deadline` is the end of the command's total time.
pub(crate) async fn run(
    connection: &Arc<Connection>,
    channel: Channel<Msg>,
    line: &CommandLine,
    command: &Command,
    deadline: Instant,
    live: &dyn LiveOutput,
) -> ProbeEnd {
    let (read, write) = channel.split();
    let mut session = Session {
        connection: connection.clone(),
        halves: Some((read, write)),
        received: Received::new(command.max_output, &command.masker),
    };
    let ended = session.follow(line, command, deadline, live).await;
    if !matches!(ended, End::Late(_)) {
        session.received.flush(live);
    }
    ProbeEnd::Done(match ended {
        End::Closed if session.received.is_untouched() => {
            session.halves = None;
            return ProbeEnd::NotRun;
        }
        End::Closed => {
            if let Some((_, write)) = session.halves.take()
                && session.received.refused
            {
                let _ = write.close().await;
            }
            session.received.output()
        }
        End::Lost if session.received.has_status() => {
            // The command ended; only the tail of its output may be missing.
            session.halves = None;
            session.received.cut_off = !session.received.eof;
            session.received.output()
        }
        End::Lost => {
            session.halves = None;
            return ProbeEnd::Lost(session.received.error(
                ErrorKind::Unavailable,
                codes::SSH_CLOSED,
                format!("the connection was lost while `{}` ran", command.program),
            ));
        }
        End::Late(limit) => {
            // A status that arrives from here on is that of the stopped command.
            session.received.stopped = !session.received.has_status();
            if let Some((read, write)) = session.halves.as_mut() {
                stop(connection, read, write, &mut session.received, live).await;
            }
            session.halves = None;
            Err(late(&session.received, command, limit))
        }
    })
}

#[derive(Clone, Copy)]
enum Limit {
    Total,
    Idle(Duration),
}

enum End {
    Closed,
    Lost,
    Late(Limit),
}

struct Session {
    connection: Arc<Connection>,
    halves: Option<(ChannelReadHalf, ChannelWriteHalf<Msg>)>,
    received: Received,
}

impl Session {
    async fn follow(
        &mut self,
        line: &CommandLine,
        command: &Command,
        deadline: Instant,
        live: &dyn LiveOutput,
    ) -> End {
        let Some((read, write)) = self.halves.as_mut() else {
            return End::Lost;
        };
        let write = &*write;
        if write.exec(true, line.line.as_str()).await.is_err() {
            return End::Lost;
        }
        self.connection.open_ahead();
        let feed = async {
            // An error here shows up as the end of the reading half.
            if !line.stdin.is_empty() {
                let _ = write.data(line.stdin.as_slice()).await;
            }
            let _ = write.eof().await;
        };
        tokio::pin!(feed);
        let mut fed = false;
        let mut heard = Instant::now();
        loop {
            // The idle limit counts from the last byte.
            let quiet_until = command
                .idle_timeout
                .and_then(|idle| heard.checked_add(idle))
                .unwrap_or(deadline);
            tokio::select! {
                message = read.wait() => match message {
                    None => return End::Lost,
                    Some(message) => match self.received.take(message, live) {
                        Progress::Output => heard = Instant::now(),
                        Progress::Other => {}
                        Progress::Close => return End::Closed,
                    },
                },
                () = &mut feed, if !fed => fed = true,
                () = sleep_until(deadline) => return End::Late(Limit::Total),
                () = sleep_until(quiet_until), if command.idle_timeout.is_some() => {
                    return End::Late(Limit::Idle(command.idle_timeout.unwrap_or_default()));
                }
            }
        }
    }
}

impl Drop for Session {
    /// The caller gave up waiting: the command must not run on unseen.
    fn drop(&mut self) {
        let Some((mut read, write)) = self.halves.take() else {
            return;
        };
        let connection = self.connection.clone();
        let mut received = std::mem::replace(&mut self.received, Received::new(0, &Masker::none()));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let nobody = vdeploy_core::capability::ssh::NoLiveOutput;
                stop(&connection, &mut read, &write, &mut received, &nobody).await;
            });
        }
    }
}

/// Stops the command with its process group: TERM, then KILL; then closes the
/// channel.
async fn stop(
    connection: &Connection,
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    received: &mut Received,
    live: &dyn LiveOutput,
) {
    for signal in [Sig::TERM, Sig::KILL] {
        let signalled = match received.group.group() {
            Some(group) => process_group::signal(connection, group, &signal_text(&signal)).await,
            None => false,
        };
        // Without a known group sshd may still signal it, for users other than root.
        if !signalled && write.signal(signal).await.is_err() {
            return;
        }
        let drained = async {
            while let Some(message) = read.wait().await {
                if matches!(received.take(message, live), Progress::Close) {
                    break;
                }
            }
        };
        if timeout(GRACE, drained).await.is_ok() {
            return;
        }
    }
    let _ = write.close().await;
}

fn late(received: &Received, command: &Command, limit: Limit) -> EffectError {
    let (code, what) = match limit {
        Limit::Total => (
            codes::SSH_TIMEOUT,
            format!("ran longer than {} s", command.timeout.as_secs_f64()),
        ),
        Limit::Idle(idle) => (
            codes::SSH_IDLE,
            format!("printed nothing for {} s", idle.as_secs_f64()),
        ),
    };
    let program = &command.program;
    let text = match received.exit_code {
        Some(exit) if !received.stopped => format!(
            "`{program}` ended with status {exit}, but something it started kept its output open \
             until the time limit; send the output of background processes to a file"
        ),
        _ => format!("`{program}` {what} and was stopped"),
    };
    received.error(ErrorKind::Timeout, code, text)
}

enum Progress {
    Output,
    Other,
    Close,
}

struct Received {
    group: GroupFilter,
    stdout: MaskedCapture,
    stderr: MaskedCapture,
    last: Stream,
    exit_code: Option<u32>,
    signal: Option<String>,
    accepted: bool,
    refused: bool,
    eof: bool,
    cut_off: bool,
    stopped: bool,
}

impl Received {
    fn new(max_output: usize, masker: &Masker) -> Self {
        Self {
            group: GroupFilter::default(),
            stdout: MaskedCapture::new(max_output, masker),
            stderr: MaskedCapture::new(max_output, masker),
            last: Stream::Stdout,
            exit_code: None,
            signal: None,
            accepted: false,
            refused: false,
            eof: false,
            cut_off: false,
            stopped: false,
        }
    }

    /// Whether the server sent nothing at all about the command: it always
    /// reports first whether it accepts it.
    fn is_untouched(&self) -> bool {
        let silent = self.stdout.is_empty() && self.stderr.is_empty();
        !self.accepted && !self.refused && !self.has_status() && silent
    }

    fn has_status(&self) -> bool {
        self.exit_code.is_some() || self.signal.is_some()
    }

    fn take(&mut self, message: ChannelMsg, live: &dyn LiveOutput) -> Progress {
        match message {
            ChannelMsg::Data { data } => {
                self.stdout.push(&data);
                self.last = Stream::Stdout;
                live.chunk(Stream::Stdout, &data);
                return Progress::Output;
            }
            ChannelMsg::ExtendedData { data, ext: 1 } => {
                let data = self.group.pass(&data);
                if data.is_empty() {
                    return Progress::Other;
                }
                self.stderr.push(&data);
                self.last = Stream::Stderr;
                live.chunk(Stream::Stderr, &data);
                return Progress::Output;
            }
            ChannelMsg::ExitStatus { exit_status } => self.exit_code = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                self.signal = Some(signal_text(&signal_name));
            }
            ChannelMsg::Success => self.accepted = true,
            ChannelMsg::Failure => {
                self.refused = true;
                return Progress::Close;
            }
            ChannelMsg::Eof => self.eof = true,
            ChannelMsg::Close => return Progress::Close,
            _ => {}
        }
        Progress::Other
    }

    /// The stream is over: what the filter held back is output.
    fn flush(&mut self, live: &dyn LiveOutput) {
        let rest = self.group.rest();
        if !rest.is_empty() {
            self.stderr.push(&rest);
            live.chunk(Stream::Stderr, &rest);
        }
    }

    fn output(&mut self) -> Result<Output, EffectError> {
        if self.refused && !self.has_status() {
            return Err(refused());
        }
        self.stdout.finish();
        self.stderr.finish();
        let truncated = self.stdout.truncated() || self.stderr.truncated() || self.cut_off;
        Ok(Output {
            exit_code: self.exit_code.filter(|_| self.signal.is_none()),
            signal: self.signal.take(),
            stdout: self.stdout.take(),
            stderr: self.stderr.take(),
            truncated,
        })
    }

    /// An error of a command that did run, with the last lines that it printed.
    fn error(&self, kind: ErrorKind, code: &str, text: String) -> EffectError {
        let message = with_last_output(&text, self.last, &self.stdout, &self.stderr);
        EffectError::new(kind, code, message).in_doubt()
    }
}

fn signal_text(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.trim_start_matches("SIG").to_owned(),
        known => format!("{known:?}"),
    }
}
