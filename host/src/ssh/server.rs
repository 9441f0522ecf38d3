//! The way to a server by plain TCP: SSH with the user's own keys, through jump
//! hosts where there are any. Knows where to go and with which keys; not who
//! said so.

use super::connect::{Client, Connection, Peer, dial, handshake};
use super::error::ConnectError;
use super::host_key::{HostKeyCheck, HostKeyPolicy};
use super::identity::Identities;
use super::limits::Limits;
use super::login::log_in;
use super::place::Place;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// What to look at when a server does not answer.
const ADVICE: &str = "check `host` and `port`, that the server runs, and the network";

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Deadlines and bounds; the time to connect is for all hops together.
    pub limits: Limits,
    /// The jump hosts, nearest first.
    pub through: Vec<Hop>,
    /// The server.
    pub server: Hop,
}

/// One SSH server on the way, or at its end.
#[derive(Clone, Debug)]
pub struct Hop {
    /// As the user calls it.
    pub name: String,
    /// Where it is dialled.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The keys to log in with.
    pub identities: Identities,
    /// Which host key it may show.
    pub host_keys: HostKeyPolicy,
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

    /// What its host key is known under: the host, with the port unless that
    /// is SSH's own.
    fn known_as(&self) -> String {
        match self.port {
            22 => self.host.to_lowercase(),
            port => format!("[{}]:{port}", self.host.to_lowercase()),
        }
    }
}

/// How the target's server is reached.
pub(super) struct ServerWay {
    config: ServerConfig,
}

impl ServerWay {
    pub(super) fn new(config: ServerConfig) -> Self {
        Self { config }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub(super) fn place(&self) -> Place {
        Place::Server(Arc::from(self.config.server.name.as_str()))
    }

    /// Connects and logs in, hop by hop.
    pub(super) async fn open(&self) -> Result<Connection, ConnectError> {
        let ServerConfig { limits, server, .. } = &self.config;
        let by = Instant::now() + limits.connect_timeout;
        let peer = server.peer();
        let client = timeout_at(by, self.open_hop(server, &peer))
            .await
            .unwrap_or_else(|_| {
                let after = limits.connect_timeout;
                Err(ConnectError::Deadline { peer, after })
            })?;
        Ok(Connection::new(self.place(), client, limits, Vec::new()))
    }

    async fn open_hop(&self, hop: &Hop, peer: &Peer) -> Result<Client, ConnectError> {
        let known_as = hop.known_as();
        let expected = hop
            .host_keys
            .expected(&known_as)
            .map_err(ConnectError::Key)?;
        let stream = dial(peer).await?;
        let (check, shown) = HostKeyCheck::new(expected);
        let mut client = handshake(peer, self.config.limits.russh(), stream, check).await?;
        log_in(&mut client, peer, &hop.user, &hop.identities).await?;
        let shown = shown.lock().unwrap_or_else(|e| e.into_inner()).take();
        let shown = shown.unwrap_or_default();
        hop.host_keys
            .learn(&known_as, &shown)
            .map_err(ConnectError::Key)?;
        tracing::debug!(host = %hop.name, host_key = %shown, "connected");
        Ok(client)
    }
}
