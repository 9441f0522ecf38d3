//! Dials a VM of the platform: TCP, TLS with the VM's name, SSH with the
//! platform's key.

use crate::auth::private_key::{KeySource, LoadedKey};
use crate::auth::rsa::{UserHash, user_hash};
use crate::connection::connect::{Connection, Peer, dial, handshake};
use crate::connection::limits::ConnectionLimits;
use crate::error::{ConnectError, is_end};
use crate::host_key::{HostKeyCheck, HostKeyPolicy, Shown, shown};
use crate::transport::Endpoint;
use russh::client::AuthResult;
use russh::keys::PrivateKeyWithHashAlg;
use rustls_pki_types::ServerName;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vdeploy_core::capability::EffectError;
use vdeploy_core::ids::VmId;
use vdeploy_net::tls::{Tls, cause, find_rustls_error};

/// What to check when a VM does not answer.
const ADVICE: &str = "check the VM id, `vm-domain`, that the VM and its SSH server are running, and \
                      the network";

#[derive(Clone, Debug)]
pub struct SshConfig {
    /// A VM's host name is `{vm}.{vm_domain}`.
    pub vm_domain: String,
    /// `host:port` to dial instead of the VM's name on port 443. TLS still asks
    /// for the VM's name.
    pub gateway: Option<String>,
    pub user: String,
    pub tls: Tls,
    pub limits: ConnectionLimits,
}

impl SshConfig {
    /// User `root` and the default limits.
    pub fn new(vm_domain: impl Into<String>, tls: Tls) -> Self {
        Self {
            vm_domain: vm_domain.into(),
            gateway: None,
            user: "root".to_owned(),
            tls,
            limits: ConnectionLimits::default(),
        }
    }
}

pub(crate) struct VmDialer {
    pub(crate) config: SshConfig,
    host_keys: HostKeyPolicy,
    keys: Arc<dyn KeySource>,
    /// The key of the last login, and its VM.
    key: Mutex<Option<(VmId, LoadedKey)>>,
}

impl VmDialer {
    pub(crate) fn new(
        config: SshConfig,
        host_keys: HostKeyPolicy,
        keys: Arc<dyn KeySource>,
    ) -> Self {
        Self {
            config,
            host_keys,
            keys,
            key: Mutex::default(),
        }
    }

    /// `to` was restored from `from` and has its host key.
    pub(crate) fn carry(&self, from: &VmId, to: &VmId) -> Result<(), EffectError> {
        self.host_keys.carry(from, to)
    }

    pub(crate) async fn open(&self, vm: &VmId) -> Result<Connection, ConnectError> {
        let kept = self.kept().take().filter(|(of, _)| of == vm);
        let fresh = kept.is_none();
        let key = match kept {
            Some((_, key)) => key,
            None => LoadedKey::load(&*self.keys, vm).await?,
        };
        let opened = match self.open_with(vm, &key).await {
            // The key may have changed since it was asked for.
            Err(ConnectError::Auth { .. }) if !fresh => {
                let key = LoadedKey::load(&*self.keys, vm).await?;
                self.open_with(vm, &key).await.map(|c| (c, key))
            }
            other => other.map(|c| (c, key)),
        };
        let (connection, key) = opened?;
        *self.kept() = Some((vm.clone(), key));
        Ok(connection)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<(VmId, LoadedKey)>> {
        self.key.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn open_with(&self, vm: &VmId, key: &LoadedKey) -> Result<Connection, ConnectError> {
        let peer = self.peer(vm);
        let limit = self.config.limits.connect_timeout;
        let (connection, shown) = timeout(limit, self.log_in(vm, &peer, key))
            .await
            .unwrap_or_else(|_| Err(ConnectError::Deadline { peer, after: limit }))?;
        self.host_keys
            .learn(vm.as_str(), &shown)
            .map_err(ConnectError::Key)?;
        tracing::debug!(%vm, host_key = %shown.fingerprint, "connected");
        Ok(connection)
    }

    fn peer(&self, vm: &VmId) -> Peer {
        let host = format!("{vm}.{}", self.config.vm_domain);
        let (dial_host, port) = match &self.config.gateway {
            Some(gateway) => split_port(gateway),
            None => (host.clone(), 443),
        };
        Peer {
            host,
            dial_host,
            port,
            advice: ADVICE,
        }
    }

    /// Gives the connection and the key that the VM showed.
    async fn log_in(
        &self,
        vm: &VmId,
        peer: &Peer,
        key: &LoadedKey,
    ) -> Result<(Connection, Shown), ConnectError> {
        let SshConfig { user, limits, .. } = &self.config;
        let expected = self
            .host_keys
            .expected(vm.as_str())
            .map_err(ConnectError::Key)?;
        let stream = self.tls(peer, dial(peer).await?).await?;
        let config = limits.russh(&expected);
        let (check, accepted) = HostKeyCheck::new(expected);
        let (mut handle, announced) = handshake(peer, config, stream, check).await?;
        let failed = |e: russh::Error| ConnectError::handshake(peer, &e);
        let hash = match key.0.algorithm().is_rsa() {
            true => match user_hash(&handle).await.map_err(failed)? {
                UserHash::Sha2(hash) => Some(hash),
                UserHash::OnlySha1 => {
                    let host = peer.host.clone();
                    return Err(ConnectError::WeakUserKey { host });
                }
            },
            false => None,
        };
        let signer = PrivateKeyWithHashAlg::new(key.0.clone(), hash);
        match handle.authenticate_publickey(user, signer).await {
            Ok(AuthResult::Success) => {}
            Ok(AuthResult::Failure { .. }) => {
                return Err(ConnectError::Auth {
                    host: peer.host.clone(),
                    user: user.clone(),
                });
            }
            Err(e) => return Err(failed(e)),
        }
        let client = (handle, announced);
        let connection = Connection::new(Endpoint::Vm(vm.clone()), client, limits, Vec::new());
        Ok((connection, shown(&accepted)))
    }

    async fn tls(&self, peer: &Peer, tcp: TcpStream) -> Result<TlsStream<TcpStream>, ConnectError> {
        let failed = |why: String, closed| ConnectError::Tls {
            peer: peer.clone(),
            why,
            closed,
        };
        let name = ServerName::try_from(peer.host.clone())
            .map_err(|_| failed("this is not a host name".to_owned(), false))?;
        TlsConnector::from(self.config.tls.config())
            .connect(name, tcp)
            .await
            .map_err(|e| match find_rustls_error(&e) {
                Some(rustls::Error::InvalidCertificate(why)) => ConnectError::Certificate {
                    peer: peer.clone(),
                    why: why.to_string(),
                },
                _ => failed(cause(&e), is_end(&e)),
            })
    }
}

/// `host:port`, `[v6]:port` or a bare host for 443.
fn split_port(address: &str) -> (String, u16) {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host.to_owned(), port),
            Err(_) => (address.to_owned(), 443),
        },
        _ => (address.to_owned(), 443),
    }
}

#[cfg(test)]
mod tests {
    use super::split_port;

    #[test]
    fn a_gateway_may_leave_the_port_out() {
        for (text, host, port) in [
            ("127.0.0.1:8443", "127.0.0.1", 8443),
            ("gw.example.com", "gw.example.com", 443),
            ("[::1]:22", "[::1]", 22),
            ("::1", "::1", 443),
        ] {
            assert_eq!(split_port(text), (host.to_owned(), port), "{text}");
        }
    }
}
