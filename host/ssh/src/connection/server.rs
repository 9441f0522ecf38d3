//! Dials a server over plain TCP: SSH with the user's own keys, through jump
//! hosts or a `ProxyCommand`. Knows the addresses and keys, not where they were
//! configured.

use crate::auth::identity::Identities;
use crate::auth::login::log_in;
use crate::connection::connect::{Client, Connection, Peer, dial, handshake};
use crate::connection::limits::ConnectionLimits;
use crate::connection::proxy::{Complaints, ProxyCommand};
use crate::error::ConnectError;
use crate::host_key::{Announced, HostKeyCheck, HostKeyPolicy, shown};
use crate::transport::Endpoint;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// What to check when a server does not answer.
const ADVICE: &str = "check `host` (a name, an address, or an alias of your OpenSSH \
                      configuration) and `port`, that the server runs, and the network";

#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The time to connect is for all hops together.
    pub limits: ConnectionLimits,
    /// The jump hosts, nearest first.
    pub through: Vec<Hop>,
    pub server: Hop,
    /// Environment variables that a `ProxyCommand` does not inherit.
    pub withheld: Vec<String>,
}

/// One SSH server: a jump host or the target.
#[derive(Clone, Debug)]
pub struct Hop {
    /// As the user calls it.
    pub name: String,
    /// The name or address to dial.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub identities: Identities,
    pub host_keys: HostKeyPolicy,
    /// The name under which its host key is stored.
    pub known_as: String,
    /// A `ProxyCommand` that makes the connection, for the first hop only.
    pub command: Option<String>,
}

impl Hop {
    fn peer(&self) -> Peer {
        Peer {
            host: self.name.clone(),
            dial_host: self.host.clone(),
            port: self.port,
            advice: ADVICE,
        }
    }
}

pub(crate) struct ServerDialer {
    config: ServerConfig,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl ServerDialer {
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self { config }
    }

    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.config.limits
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Server(Arc::from(self.config.server.name.as_str()))
    }

    /// Connects and logs in, hop by hop, within the time for all of them together.
    pub(crate) async fn open(&self) -> Result<Connection, ConnectError> {
        let limits = &self.config.limits;
        let by = Instant::now() + limits.connect_timeout;
        let mut passed: Vec<(String, Client)> = Vec::new();
        let mut last = None;
        for hop in self.config.through.iter().chain([&self.config.server]) {
            let peer = hop.peer();
            let (client, announced) = timeout_at(by, self.open_hop(hop, &peer, passed.last()))
                .await
                .unwrap_or_else(|_| {
                    let after = limits.connect_timeout;
                    Err(ConnectError::Deadline { peer, after })
                })?;
            passed.push((hop.name.clone(), client));
            last = Some(announced);
        }
        let mut clients: Vec<Client> = passed.into_iter().map(|(_, client)| client).collect();
        // There is at least one: the client of the server itself.
        let client = clients.pop().zip(last).ok_or(ConnectError::NoVm)?;
        Ok(Connection::new(self.endpoint(), client, limits, clients))
    }

    async fn open_hop(
        &self,
        hop: &Hop,
        peer: &Peer,
        before: Option<&(String, Client)>,
    ) -> Result<(Client, Announced), ConnectError> {
        let expected = hop
            .host_keys
            .expected(&hop.known_as)
            .map_err(ConnectError::Key)?;
        let (stream, complaints) = stream(hop, peer, before, &self.config.withheld).await?;
        let config = self.config.limits.russh(&expected);
        let (check, accepted) = HostKeyCheck::new(expected);
        let (mut client, announced) =
            match (handshake(peer, config, stream, check).await, complaints) {
                (Err(ConnectError::Handshake { peer, .. }), Some(complaints)) => {
                    let why = format!("it ended: {}", complaints.all().await);
                    return Err(ConnectError::Proxy { peer, why });
                }
                (client, _) => client?,
            };
        log_in(&mut client, peer, &hop.user, &hop.identities).await?;
        let shown = shown(&accepted);
        hop.host_keys
            .learn(&hop.known_as, &shown)
            .map_err(ConnectError::Key)?;
        tracing::debug!(host = %hop.name, host_key = %shown.fingerprint, "connected");
        Ok((client, announced))
    }
}

/// A stream to one hop: through the hop before it, a program, or TCP.
async fn stream(
    hop: &Hop,
    peer: &Peer,
    before: Option<&(String, Client)>,
    withheld: &[String],
) -> Result<(Box<dyn Stream>, Option<Complaints>), ConnectError> {
    if let Some((jump, client)) = before {
        let opened = client
            .channel_open_direct_tcpip(hop.host.as_str(), hop.port.into(), "127.0.0.1", 0)
            .await;
        return match opened {
            Ok(channel) => Ok((Box::new(channel.into_stream()), None)),
            Err(error) => Err(ConnectError::Jump {
                peer: peer.clone(),
                jump: jump.clone(),
                why: match error {
                    russh::Error::ChannelOpenFailure(reason) => format!("{reason:?}"),
                    other => other.to_string(),
                },
            }),
        };
    }
    match &hop.command {
        Some(command) => {
            let (proxy, complaints) =
                ProxyCommand::start(command, withheld).map_err(|e| ConnectError::Proxy {
                    peer: peer.clone(),
                    why: format!("`{command}` cannot be started: {e}"),
                })?;
            Ok((Box::new(proxy), Some(complaints)))
        }
        None => Ok((Box::new(dial(peer).await?), None)),
    }
}
