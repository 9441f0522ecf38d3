//! One connection to one VM: TCP, TLS with the VM's name, SSH, key.
//!
//! Knows nothing of commands.

use super::ahead::Ahead;
use super::error::ConnectError;
use super::host_key::{Ended, Expected, HostKeyCheck};
use super::{SshConfig, private_key::LoadedKey};
use crate::ids::VmId;
use crate::resolve;
use crate::tls::find_rustls_error;
use russh::client::{self, AuthResult};
use russh::keys::PrivateKeyWithHashAlg;
use rustls_pki_types::ServerName;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A live connection and the VM it goes to.
pub(super) struct Connection {
    pub(super) vm: VmId,
    pub(super) handle: client::Handle<HostKeyCheck>,
    /// One permit a session: of a command, or opened ahead for the next.
    pub(super) channels: Arc<Semaphore>,
    pub(super) ahead: Ahead,
    /// The same for ending commands: sshd has two sessions more than we use.
    pub(super) signals: Semaphore,
}

/// The name of a VM and where it is dialled.
struct Place {
    host: String,
    dial_host: String,
    port: u16,
}

impl Place {
    fn of(vm: &VmId, config: &SshConfig) -> Self {
        let host = format!("{vm}.{}", config.vm_domain);
        let (dial_host, port) = match &config.gateway {
            Some(gateway) => split_port(gateway),
            None => (host.clone(), 443),
        };
        Self {
            host,
            dial_host,
            port,
        }
    }

    fn dial(&self) -> String {
        format!("{}:{}", self.dial_host, self.port)
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

impl Connection {
    /// Connects to `vm` within the configured deadline; gives the connection
    /// and the fingerprint that the VM showed.
    pub(super) async fn open(
        vm: &VmId,
        config: &SshConfig,
        key: &LoadedKey,
        expected: Expected,
    ) -> Result<(Self, String), ConnectError> {
        let place = Place::of(vm, config);
        let attempt = Self::handshake(vm, config, &place, key, expected);
        timeout(config.connect_timeout, attempt)
            .await
            .unwrap_or_else(|_| {
                Err(ConnectError::Deadline {
                    host: place.host.clone(),
                    dial: place.dial(),
                    after: config.connect_timeout,
                })
            })
    }

    async fn handshake(
        vm: &VmId,
        config: &SshConfig,
        place: &Place,
        key: &LoadedKey,
        expected: Expected,
    ) -> Result<(Self, String), ConnectError> {
        let tcp = dial(place).await?;
        let tls = tls(place, config, tcp).await?;
        let shown = Arc::new(Mutex::new(None));
        let check = HostKeyCheck {
            expected,
            shown: shown.clone(),
        };
        let failed = |why: String| ConnectError::Handshake {
            host: place.host.clone(),
            dial: place.dial(),
            why,
        };
        let mut handle = client::connect_stream(config.russh(), tls, check)
            .await
            .map_err(|ended| match ended {
                Ended::HostKey(key) => ConnectError::HostKey {
                    host: place.host.clone(),
                    key,
                },
                Ended::Ssh(e) => failed(e.to_string()),
            })?;
        let hash = match key.0.algorithm().is_rsa() {
            true => handle
                .best_supported_rsa_hash()
                .await
                .map_err(|e| failed(e.to_string()))?
                .flatten(),
            false => None,
        };
        let signer = PrivateKeyWithHashAlg::new(key.0.clone(), hash);
        match handle.authenticate_publickey(&config.user, signer).await {
            Ok(AuthResult::Success) => {}
            Ok(AuthResult::Failure { .. }) => {
                return Err(ConnectError::Auth {
                    host: place.host.clone(),
                    user: config.user.clone(),
                });
            }
            Err(e) => return Err(failed(e.to_string())),
        }
        let shown = shown.lock().unwrap_or_else(|e| e.into_inner()).take();
        let connection = Self {
            vm: vm.clone(),
            handle,
            channels: Arc::new(Semaphore::new(config.max_channels)),
            ahead: Ahead::new(),
            signals: Semaphore::new(2),
        };
        Ok((connection, shown.unwrap_or_default()))
    }
}

async fn dial(place: &Place) -> Result<TcpStream, ConnectError> {
    let unreachable = |source| ConnectError::Tcp {
        host: place.host.clone(),
        dial: place.dial(),
        source,
    };
    let addresses = resolve::resolve(&place.dial_host, place.port)
        .await
        .map_err(|source| ConnectError::Resolve {
            host: place.dial_host.clone(),
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

async fn tls(
    place: &Place,
    config: &SshConfig,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let failed = |why: String| ConnectError::Tls {
        host: place.host.clone(),
        dial: place.dial(),
        why,
    };
    let name = ServerName::try_from(place.host.clone())
        .map_err(|_| failed("this is not a host name".to_owned()))?;
    TlsConnector::from(config.tls.config())
        .connect(name, tcp)
        .await
        .map_err(|e| match find_rustls_error(&e) {
            Some(rustls::Error::InvalidCertificate(why)) => ConnectError::Certificate {
                host: place.host.clone(),
                dial: place.dial(),
                why: why.to_string(),
            },
            _ => failed(e.to_string()),
        })
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
