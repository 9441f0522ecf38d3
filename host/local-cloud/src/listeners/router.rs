//! The HTTP router: forwards a connection to the app port of the VM that its host name names.
//!
//! With TLS, SNI names the VM and bytes are forwarded unchanged, so WebSockets work too. Without
//! TLS the `Host` header names it; then one connection carries one request, because the next one
//! could name another VM.
//!
//! It connects to `[::1]` only, on purpose: on the platform a service that listens on IPv4 alone is
//! not reachable either.

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::core::Core;
use crate::listeners::gateway::{accept_all, cut_off, handshake};
use crate::listeners::peek::{Replay, vm_of_host};
use crate::vm::Vm;

/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Bytes of a request that are read to find the `Host` header.
const MAX_HEAD: usize = 64 * 1024;

/// How long a client may take to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to keep reading after an error answer, so that the client receives it.
const LINGER: Duration = Duration::from_secs(2);

pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    core: Arc<Core>,
    stop: watch::Receiver<bool>,
) {
    accept_all(listener, stop.clone(), |tcp| {
        let (acceptor, core, stop) = (acceptor.clone(), Arc::clone(&core), stop.clone());
        async move {
            let mut first = [0];
            tokio::time::timeout(HEAD_TIMEOUT, tcp.peek(&mut first)).await??;
            if first != [TLS_HANDSHAKE] {
                return plain(&core, tcp, stop).await;
            }
            match handshake(&acceptor, &core, tcp).await? {
                (Some(vm), stream) => {
                    let stream = Replay::new(vec![], stream, cut_off(&vm, stop));
                    pass_on(&core, &vm, stream).await
                }
                (None, stream) => refuse(stream, NOT_FOUND, "no VM has this host name\n").await,
            }
        }
    })
    .await;
}

const NOT_FOUND: &str = "404 Not Found";
const BAD_REQUEST: &str = "400 Bad Request";
const BAD_GATEWAY: &str = "502 Bad Gateway";

/// Serves one request of a connection without TLS.
async fn plain(core: &Core, mut tcp: TcpStream, stop: watch::Receiver<bool>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(4096);
    let reading = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut tcp, &mut bytes));
    let Some(end) = reading.await?? else {
        return refuse(tcp, BAD_REQUEST, "this is no HTTP request\n").await;
    };
    let body = bytes.split_off(end);
    let head = Head::new(&bytes);
    let vm = head.host().and_then(|host| vm_of_host(&host));
    let Some(vm) = vm.and_then(|id| core.vm(id).ok()) else {
        return refuse(tcp, NOT_FOUND, "no VM has this host name\n").await;
    };
    let mut request = head.for_one_request();
    request.extend_from_slice(&body);
    let stream = Replay::new(request, tcp, cut_off(&vm, stop));
    pass_on(core, &vm, stream).await
}

/// Forwards bytes between a client and the app port of a VM.
pub(crate) async fn pass_on<S>(core: &Core, vm: &Vm, mut client: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !core.is_running(vm.id) {
        let text = format!("VM {} is paused\n", vm.id);
        await_request(&mut client).await;
        return refuse(client, BAD_GATEWAY, &text).await;
    }
    match TcpStream::connect((Ipv6Addr::LOCALHOST, vm.app_port)).await {
        Ok(mut service) => {
            service.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut service).await?;
            Ok(())
        }
        Err(_) => {
            let text = format!(
                "nothing listens on [::1]:{} for VM {}; a service must listen on IPv6 (::), \
                 IPv4 alone cannot be reached\n",
                vm.app_port, vm.id
            );
            await_request(&mut client).await;
            refuse(client, BAD_GATEWAY, &text).await
        }
    }
}

/// Waits for the first bytes of a request: an answer before its request looks like a broken
/// connection to a client.
async fn await_request<S: AsyncRead + Unpin>(client: &mut S) {
    let mut first = [0; 1024];
    // Silence and a closed connection get an answer too.
    let _ = tokio::time::timeout(LINGER, client.read(&mut first)).await;
}

/// Answers with a text and closes the connection.
async fn refuse<S>(mut stream: S, status: &str, text: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the client could lose the answer.
    let mut rest = tokio::io::sink();
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut stream, &mut rest)).await;
    Ok(())
}

/// Reads until the head of a request is complete; returns its length, `None` when it does not end.
async fn read_head<S>(stream: &mut S, bytes: &mut Vec<u8>) -> io::Result<Option<usize>>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if bytes.len() >= MAX_HEAD || stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// The head of a request: its first line and its headers.
struct Head<'a> {
    lines: Vec<&'a [u8]>,
}

impl<'a> Head<'a> {
    fn new(bytes: &'a [u8]) -> Head<'a> {
        Head {
            lines: bytes
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .filter(|line| !line.is_empty())
                .collect(),
        }
    }

    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.lines
            .iter()
            .skip(1)
            .find_map(|line| value_of(line, name))
    }

    /// The host that the request names: in its first line, else in its `Host` header.
    fn host(&self) -> Option<String> {
        let line = std::str::from_utf8(self.lines.first()?).ok()?;
        let target = line.split(' ').nth(1)?;
        if let Some(rest) = target.strip_prefix("http://") {
            return rest.split('/').next().map(str::to_owned);
        }
        let host = std::str::from_utf8(self.header("host")?).ok()?;
        Some(host.to_owned())
    }

    /// The head to forward: the connection closes after this request, unless the client upgrades
    /// the protocol.
    fn for_one_request(&self) -> Vec<u8> {
        let upgrades = self.header("upgrade").is_some();
        let kept = self
            .lines
            .iter()
            .filter(|line| upgrades || value_of(line, "connection").is_none());
        let mut head = Vec::new();
        for line in kept {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
        if !upgrades {
            head.extend_from_slice(b"connection: close\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// The value of a header line if it is the header of this name.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = line.iter().position(|byte| *byte == b':')?;
    let (key, value) = line.split_at_checked(at)?;
    key.eq_ignore_ascii_case(name.as_bytes())
        .then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_in_the_header_or_in_the_target() {
        let head = Head::new(b"GET / HTTP/1.1\r\nX: y\r\nhOsT:  a.vm.localhost:80 \r\n\r\n");
        assert_eq!(head.host().as_deref(), Some("a.vm.localhost:80"));
        let head = Head::new(b"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head.host().as_deref(), Some("b"));
        assert_eq!(Head::new(b"GET / HTTP/1.0\r\n\r\n").host(), None);
    }

    #[test]
    fn one_connection_carries_one_request() {
        let head = Head::new(b"GET / HTTP/1.1\r\nConnection: keep-alive\r\nHost: a\r\n\r\n");
        assert_eq!(
            head.for_one_request(),
            b"GET / HTTP/1.1\r\nHost: a\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_change_of_protocol_is_passed_on_as_it_is() {
        let text = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(Head::new(text).for_one_request(), text);
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_no_request() {
        let endless = vec![b'x'; MAX_HEAD + 1];
        let mut bytes = Vec::new();
        let end = read_head(&mut endless.as_slice(), &mut bytes)
            .await
            .unwrap();
        assert_eq!(end, None);
        let mut bytes = Vec::new();
        let end = read_head(&mut b"GET / HTTP/1.1\r\n\r\nbody".as_slice(), &mut bytes).await;
        assert_eq!(end.unwrap(), Some(18));
    }
}
