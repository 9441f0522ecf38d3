//! One command on an SSH channel, with the behaviour of OpenSSH.
//!
//! - The exit status is sent when the process ends; the channel closes when both outputs have
//!   reached their end. A background child that holds an output keeps the channel open.
//! - Output waits for the client's window: a slow client slows the command down.
//! - Signals go to the command's process group, and only while its leader has not been reaped: the
//!   id is certainly still its own then.
//! - When the client closes the channel or goes away, the group gets SIGHUP and the pipes close. A
//!   process that left the group (`setsid`) or ignores SIGHUP (`nohup`) keeps running.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::discriminant;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Bytes of input that are buffered for a command that does not read. Beyond it the whole
/// connection waits: the SSH library widens a channel's window before its data is consumed.
const MAX_WAITING_INPUT: usize = 64 * 1024 * 1024;

/// Largest piece of output that is read at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// Data type of standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

pub(crate) enum CommandLine<'a> {
    /// `/bin/sh -c <command>`.
    Command(&'a [u8]),
    /// `/bin/sh`, reading its commands from the input.
    Shell,
}

type Piece = (Vec<u8>, OwnedSemaphorePermit);

/// The input side of a channel: takes what the client sends, also before a command runs.
pub(crate) struct Input {
    room: Arc<Semaphore>,
    writer: Option<mpsc::UnboundedSender<Piece>>,
    reader: Option<mpsc::UnboundedReceiver<Piece>>,
}

impl Input {
    /// An input that nobody has written to yet.
    pub(crate) fn new() -> Input {
        let (writer, reader) = mpsc::unbounded_channel();
        Input {
            room: Arc::new(Semaphore::new(MAX_WAITING_INPUT)),
            writer: Some(writer),
            reader: Some(reader),
        }
    }

    /// The other end, for the command; given once.
    pub(crate) fn take_reader(&mut self) -> Option<mpsc::UnboundedReceiver<Piece>> {
        self.reader.take()
    }

    /// Adds bytes; waits when too many wait already. After the command ended they are dropped.
    pub(crate) async fn push(&self, bytes: &[u8]) {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if let Some(writer) = &self.writer
            && let Ok(room) = Arc::clone(&self.room).acquire_many_owned(size).await
        {
            // An error means that the command has ended.
            let _ = writer.send((bytes.to_vec(), room));
        }
    }

    /// The client sends nothing more.
    pub(crate) fn finish(&mut self) {
        self.writer = None;
    }
}

/// A command that was started. Dropping this hangs it up.
pub(crate) struct RunningCommand {
    signals: mpsc::UnboundedSender<Signal>,
}

impl RunningCommand {
    /// Starts a command in its own process group, with this environment and nothing else.
    ///
    /// # Errors
    /// The shell could not be started.
    pub(crate) fn start(
        line: CommandLine<'_>,
        env: &BTreeMap<OsString, OsString>,
        dir: &Path,
        input: mpsc::UnboundedReceiver<Piece>,
        channel: ChannelWriteHalf<Msg>,
        session: Handle,
    ) -> io::Result<RunningCommand> {
        let mut command = Command::new("/bin/sh");
        if let CommandLine::Command(text) = line {
            command.arg("-c").arg(OsStr::from_bytes(text));
        }
        let child = command
            .env_clear()
            .envs(env)
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (signals, received) = mpsc::unbounded_channel();
        let caretaker = Caretaker {
            channel,
            session,
            hung_up: watch::Sender::new(false),
        };
        tokio::spawn(caretaker.attend(child, input, received));
        Ok(RunningCommand { signals })
    }

    /// Sends a signal to the command's process group; `false` when there is no such signal.
    pub(crate) fn signal(&self, signal: &Sig) -> bool {
        match signal_of(signal) {
            // An error means that the command has ended.
            Some(signal) => self.signals.send(signal).is_ok(),
            None => false,
        }
    }

    /// Whether the command has ended and its channel is closed.
    pub(crate) fn is_over(&self) -> bool {
        self.signals.is_closed()
    }
}

/// Looks after a command from its start to the end of its channel.
struct Caretaker {
    channel: ChannelWriteHalf<Msg>,
    session: Handle,
    hung_up: watch::Sender<bool>,
}

impl Caretaker {
    async fn attend(
        self,
        mut child: Child,
        input: mpsc::UnboundedReceiver<Piece>,
        mut signals: mpsc::UnboundedReceiver<Signal>,
    ) {
        let feeder = child.stdin.take().map(|to| tokio::spawn(feed(input, to)));
        let stop_feeding = || feeder.as_ref().map(tokio::task::JoinHandle::abort);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let outputs = async {
            tokio::join!(self.pump(stdout, None), self.pump(stderr, Some(STDERR)));
        };
        tokio::pin!(outputs);
        let (mut exited, mut silent, mut hung_up) = (false, false, false);
        while !(exited && silent) {
            tokio::select! {
                status = child.wait(), if !exited => {
                    exited = true;
                    stop_feeding();
                    if let Ok(status) = status && !hung_up {
                        self.report(status).await;
                    }
                }
                () = &mut outputs, if !silent => {
                    silent = true;
                    if !hung_up {
                        // An error means that the connection is gone, here and below.
                        let _ = self.channel.eof().await;
                    }
                }
                signal = signals.recv(), if !hung_up => {
                    if signal.is_none() {
                        hung_up = true;
                        stop_feeding();
                        self.hung_up.send_replace(true);
                    }
                    send_to_group(&child, signal.unwrap_or(Signal::HUP));
                }
            }
        }
        if !hung_up {
            let _ = self.channel.close().await;
        }
    }

    /// Passes one output on to the client until its end, or until the client is gone.
    async fn pump<R: AsyncRead + Unpin>(&self, from: Option<R>, kind: Option<u32>) {
        let Some(mut from) = from else { return };
        let mut hung_up = self.hung_up.subscribe();
        let pass_on = async {
            loop {
                let mut piece = Vec::with_capacity(CHUNK);
                match from.read_buf(&mut piece).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
                let sent = match kind {
                    None => self.channel.data_bytes(piece).await,
                    Some(kind) => self.channel.extended_data_bytes(kind, piece).await,
                };
                if sent.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = pass_on => {}
            _ = hung_up.wait_for(|hung_up| *hung_up) => {}
        }
    }

    /// Tells the client how the command ended.
    async fn report(&self, status: ExitStatus) {
        let id = self.channel.id();
        // An error means that the connection is gone.
        let _ = match (status.code(), status.signal()) {
            (Some(code), _) => {
                let code = u32::try_from(code).unwrap_or(u32::MAX);
                self.session.exit_status_request(id, code).await
            }
            (None, signal) => {
                let name = name_of(signal.unwrap_or(0));
                let dumped = status.core_dumped();
                self.session
                    .exit_signal_request(id, name, dumped, String::new(), String::new())
                    .await
            }
        };
    }
}

/// Signals the command's process group, unless its leader has been reaped.
fn send_to_group(child: &Child, signal: Signal) {
    let leader = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = leader.and_then(Pid::from_raw) {
        // The one failure left is that the whole group ended just now.
        let _ = kill_process_group(group, signal);
    }
}

/// Writes what the client sends to the command; dropping the pipe is the end of its input.
async fn feed(mut input: mpsc::UnboundedReceiver<Piece>, mut to: ChildStdin) {
    while let Some((bytes, _room)) = input.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// The signals that SSH has a name for.
const SIGNALS: [(Sig, Signal); 12] = [
    (Sig::ABRT, Signal::ABORT),
    (Sig::ALRM, Signal::ALARM),
    (Sig::FPE, Signal::FPE),
    (Sig::HUP, Signal::HUP),
    (Sig::ILL, Signal::ILL),
    (Sig::INT, Signal::INT),
    (Sig::KILL, Signal::KILL),
    (Sig::PIPE, Signal::PIPE),
    (Sig::QUIT, Signal::QUIT),
    (Sig::SEGV, Signal::SEGV),
    (Sig::TERM, Signal::TERM),
    (Sig::USR1, Signal::USR1),
];

/// A signal that OpenSSH knows by name and the SSH library does not.
const USR2: &str = "USR2";

fn signal_of(wanted: &Sig) -> Option<Signal> {
    if matches!(wanted, Sig::Custom(name) if name == USR2) {
        return Some(Signal::USR2);
    }
    let mut pairs = SIGNALS.iter();
    pairs.find_map(|(name, signal)| (discriminant(name) == discriminant(wanted)).then_some(*signal))
}

/// The name of a signal without its `SIG`; signals without a name of their own as OpenSSH says it.
fn name_of(number: i32) -> Sig {
    if number == Signal::USR2.as_raw() {
        return Sig::Custom(USR2.to_owned());
    }
    let mut pairs = SIGNALS.iter();
    pairs
        .find_map(|(name, signal)| (signal.as_raw() == number).then(|| name.clone()))
        .unwrap_or_else(|| Sig::Custom("SIG@openssh.com".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_signals_go_both_ways() {
        for signal in [Signal::TERM, Signal::USR2, Signal::KILL, Signal::ABORT] {
            let name = name_of(signal.as_raw());
            assert_eq!(signal_of(&name), Some(signal), "{name:?}");
        }
        assert_eq!(signal_of(&Sig::Custom("TSTP".into())), None);
    }

    #[tokio::test]
    async fn input_keeps_its_order_and_ends() {
        let mut input = Input::new();
        let mut reader = input.take_reader().unwrap();
        assert!(input.take_reader().is_none());
        input.push(b"a").await;
        input.push(b"b").await;
        input.finish();
        let mut got = vec![];
        while let Some((bytes, _)) = reader.recv().await {
            got.extend(bytes);
        }
        assert_eq!(got, b"ab");
    }

    #[tokio::test]
    async fn input_of_a_command_that_ended_takes_no_room() {
        let mut input = Input::new();
        drop(input.take_reader());
        input.push(&[0; 1000]).await;
        assert_eq!(input.room.available_permits(), MAX_WAITING_INPUT);
    }
}
