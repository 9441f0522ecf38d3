//! `ProxyCommand`: a program of the user's OpenSSH configuration whose standard
//! input and output are the connection.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bytes kept of the end of its standard error.
const KEPT: usize = 1024;

/// The running program; it ends with the connection.
pub(crate) struct ProxyCommand {
    stdin: ChildStdin,
    stdout: ChildStdout,
    _child: Child,
}

impl ProxyCommand {
    /// Starts it with the shell, as OpenSSH does: in a process group of its own, so
    /// that it cannot take the terminal, and without the variables `withheld`.
    pub(crate) fn start(command: &str, withheld: &[String]) -> io::Result<(Self, Complaints)> {
        let mut shell = Command::new("/bin/sh");
        for variable in withheld {
            shell.env_remove(variable);
        }
        let mut child = shell
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let complaints = Complaints(child.stderr.take().map(|e| tokio::spawn(listen(e))));
        let proxy = Self {
            stdin,
            stdout,
            _child: child,
        };
        Ok((proxy, complaints))
    }
}

/// The standard error of the program, to its end.
pub(crate) struct Complaints(Option<JoinHandle<String>>);

impl Complaints {
    pub(crate) async fn all(self) -> String {
        let Some(task) = self.0 else {
            return String::new();
        };
        match timeout(Duration::from_secs(1), task).await {
            Ok(Ok(text)) => text,
            _ => String::new(),
        }
    }
}

async fn listen(mut stderr: ChildStderr) -> String {
    let (mut kept, mut piece) = (Vec::new(), [0; KEPT]);
    while let Ok(n @ 1..) = stderr.read(&mut piece).await {
        kept.extend(piece.iter().take(n));
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).trim().replace('\n', "; ")
}

impl AsyncRead for ProxyCommand {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for ProxyCommand {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}
