//! A connection as commands use it, and what every dialer shares: TCP, and the
//! SSH handshake with the check of the host key.
//!
//! Knows nothing of commands, of TLS or of login keys.

use crate::auth::rsa::proved_with_sha1;
use crate::connection::limits::ConnectionLimits;
use crate::connection::session_pool::SessionPool;
use crate::error::ConnectError;
use crate::host_key::{Announced, HandshakeError, HostKeyCheck};
use crate::transport::Endpoint;
use russh::client;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use vdeploy_net::resolve;

pub(crate) type Client = client::Handle<HostKeyCheck>;

pub(crate) struct Connection {
    pub(crate) endpoint: Endpoint,
    pub(crate) handle: Client,
    pub(crate) announced: Announced,
    /// One permit per session: of a command, or opened ahead for the next.
    pub(crate) channels: Arc<Semaphore>,
    pub(crate) pool: SessionPool,
    /// For commands that send signals: sshd has two sessions more than we use.
    pub(crate) signals: Semaphore,
    dead: AtomicBool,
    /// The connections to the jump hosts that carry this one.
    _through: Vec<Client>,
}

impl Connection {
    /// A connection that has logged in.
    pub(crate) fn new(
        endpoint: Endpoint,
        (handle, announced): (Client, Announced),
        limits: &ConnectionLimits,
        through: Vec<Client>,
    ) -> Self {
        Self {
            endpoint,
            handle,
            announced,
            channels: Arc::new(Semaphore::new(limits.max_channels)),
            pool: SessionPool::new(),
            signals: Semaphore::new(2),
            dead: AtomicBool::new(false),
            _through: through,
        }
    }
}

impl Connection {
    /// The next command gets another connection.
    pub(crate) fn mark_dead(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Whether commands may use it, as far as anybody knows.
    pub(crate) fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::Relaxed) && !self.handle.is_closed()
    }
}

/// The other end of a connection that is being made, as messages name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    pub(crate) host: String,
    pub(crate) dial_host: String,
    pub(crate) port: u16,
    /// What to check when it is not found or does not answer.
    pub(crate) advice: &'static str,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            dial_host,
            port,
            ..
        } = self;
        match dial_host.contains(':') && !dial_host.starts_with('[') {
            true => write!(f, "{host} ([{dial_host}]:{port})"),
            false => write!(f, "{host} ({dial_host}:{port})"),
        }
    }
}

/// TCP to the peer, with `TCP_NODELAY`.
pub(crate) async fn dial(peer: &Peer) -> Result<TcpStream, ConnectError> {
    let unreachable = |source| ConnectError::Tcp {
        peer: peer.clone(),
        source,
    };
    let addresses = resolve::resolve(&peer.dial_host, peer.port)
        .await
        .map_err(|source| ConnectError::Resolve {
            peer: peer.clone(),
            source,
        })?;
    let mut first = None;
    for address in addresses {
        // One dead address must not use up the time of the others.
        let tried = timeout(Duration::from_secs(10), TcpStream::connect(address)).await;
        match tried.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(tcp) => {
                tcp.set_nodelay(true).map_err(unreachable)?;
                return Ok(tcp);
            }
            Err(e) => first = first.or(Some(e)),
        }
    }
    Err(unreachable(first.unwrap_or_else(|| {
        std::io::ErrorKind::AddrNotAvailable.into()
    })))
}

/// The SSH handshake over a stream; nobody is logged in yet.
pub(crate) async fn handshake<S>(
    peer: &Peer,
    config: Arc<client::Config>,
    stream: S,
    check: HostKeyCheck,
) -> Result<(Client, Announced), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let announced = check.announced();
    let connected = client::connect_stream(config, stream, check).await;
    let client = connected.map_err(|ended| match ended {
        HandshakeError::HostKey(key) => ConnectError::HostKey {
            host: peer.host.clone(),
            key,
        },
        HandshakeError::Ssh(e) => ConnectError::handshake(peer, &e),
    })?;
    if proved_with_sha1(&client) {
        return Err(ConnectError::WeakHostKey { peer: peer.clone() });
    }
    Ok((client, announced))
}
