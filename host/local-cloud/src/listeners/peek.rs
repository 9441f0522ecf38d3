//! Peeks at the first bytes of a connection.
//!
//! Owns the stream that replays the peeked bytes, and that ends when its VM becomes unreachable.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use uuid::Uuid;

use crate::VM_DOMAIN;

/// The first bytes of every SSH client.
const SSH_GREETING: &[u8] = b"SSH-";

/// The protocol of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Ssh,
    Other,
}

/// Reads until the protocol is clear; returns it and the bytes read.
///
/// A client that is silent for `patience` waits for the server's greeting: that is SSH.
///
/// # Errors
/// The connection broke, or ended before its first byte.
pub(crate) async fn peek<S: AsyncRead + Unpin>(
    stream: &mut S,
    patience: Duration,
) -> io::Result<(Speaks, Vec<u8>)> {
    let deadline = Instant::now() + patience;
    let mut seen = Vec::with_capacity(64);
    while seen.len() < SSH_GREETING.len() {
        match tokio::time::timeout_at(deadline, stream.read_buf(&mut seen)).await {
            Err(_) => return Ok((Speaks::Ssh, seen)),
            Ok(Ok(0)) if seen.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(0)) => return Ok((Speaks::Other, seen)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
        let compared = seen.len().min(SSH_GREETING.len());
        if seen.get(..compared) != SSH_GREETING.get(..compared) {
            return Ok((Speaks::Other, seen));
        }
    }
    Ok((Speaks::Ssh, seen))
}

/// The VM that a host name `{vm_id}.vm.localhost[:port]` stands for.
pub(crate) fn vm_of_host(host: &str) -> Option<Uuid> {
    let name = host.split(':').next()?.trim_end_matches('.');
    let (id, domain) = name.split_once('.')?;
    if id.len() != 36 || !domain.eq_ignore_ascii_case(VM_DOMAIN) {
        return None;
    }
    Uuid::parse_str(id).ok()
}

/// A stream that first replays bytes, and ends once `cut` is ready.
pub(crate) struct Replay<S> {
    replayed: io::Cursor<Vec<u8>>,
    inner: S,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Replay<S> {
    pub(crate) fn new(
        bytes: Vec<u8>,
        inner: S,
        cut: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Replay {
            replayed: io::Cursor::new(bytes),
            inner,
            cut: Box::pin(cut),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            self.cut = Box::pin(std::future::ready(()));
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.replayed).poll_read(cx, buf) {
            return Poll::Ready(Err(error));
        }
        if buf.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn peeked(bytes: &[u8]) -> (Speaks, Vec<u8>) {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(bytes).await.unwrap();
        peek(&mut server, Duration::from_millis(20)).await.unwrap()
    }

    #[tokio::test]
    async fn the_first_bytes_tell_what_the_client_speaks() {
        assert_eq!(peeked(b"SSH-2.0-x\r\n").await.0, Speaks::Ssh);
        assert_eq!(peeked(b"GET / HTTP/1.1\r\n").await.0, Speaks::Other);
        assert_eq!(peeked(b"").await.0, Speaks::Ssh);
        assert_eq!(peeked(b"SS").await, (Speaks::Ssh, b"SS".to_vec()));
        assert_eq!(peeked(b"ST").await.0, Speaks::Other);
    }

    #[tokio::test]
    async fn peeked_bytes_are_replayed_and_a_cut_ends_the_stream() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"world").await.unwrap();
        let (cut, told) = tokio::sync::oneshot::channel();
        let told = async { told.await.unwrap() };
        let mut replay = Replay::new(b"hello ".to_vec(), server, told);
        let mut text = [0; 11];
        replay.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"hello world");

        let read = tokio::spawn(async move { replay.read_u8().await });
        cut.send(()).unwrap();
        assert!(read.await.unwrap().is_err());
    }

    #[test]
    fn only_host_names_of_vms_name_a_vm() {
        let id = Uuid::new_v4();
        assert_eq!(vm_of_host(&format!("{id}.vm.localhost:8080")), Some(id));
        assert_eq!(vm_of_host(&format!("{id}.VM.localhost.")), Some(id));
        assert_eq!(vm_of_host(&format!("{}.vm.localhost", id.simple())), None);
        assert_eq!(vm_of_host(&format!("{id}.example.org")), None);
        assert_eq!(vm_of_host("vm.localhost"), None);
    }
}
