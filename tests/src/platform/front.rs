//! The platform's front on this machine's loopback: ends TLS, takes the VM from
//! the name that the client asked for, and leads into the VM.
//!
//! One port leads to SSH, as 443 does on the platform. Another one leads to the
//! service, over IPv6 only: what listens on IPv4 alone is not reached from
//! outside.

use super::cloud::Cloud;
use super::vm::Vm;
use anyhow::Result;
use rustls::ServerConfig;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

/// The port of the service in every VM.
pub const SERVICE_PORT: u16 = 3000;

/// Where SSH is inside of a VM.
pub const SSH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 22);
/// Where the service is reached inside of a VM.
pub const SERVICE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), SERVICE_PORT);

/// Opens a port that leads to `inner` of the VM that the client names.
pub fn open(
    runtime: &Handle,
    cloud: Arc<Cloud>,
    tls: Arc<ServerConfig>,
    inner: SocketAddr,
) -> Result<u16> {
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    let acceptor = TlsAcceptor::from(tls);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, cloud) = (acceptor.clone(), cloud.clone());
            tokio::spawn(async move {
                let Ok(outside) = acceptor.accept(stream).await else {
                    return;
                };
                let name = outside.get_ref().1.server_name().unwrap_or_default();
                if let Some(vm) = cloud.reached(name) {
                    lead(outside, vm, inner).await;
                }
            });
        }
    });
    Ok(port)
}

/// Opens a port without TLS that leads to `inner` of one VM, as to any server
/// on a network.
pub fn open_plain(runtime: &Handle, vm: &Arc<Vm>, inner: SocketAddr) -> Result<u16> {
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    let vm = Arc::downgrade(vm);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Some(vm) = vm.upgrade() else {
                return;
            };
            tokio::spawn(lead(stream, vm, inner));
        }
    });
    Ok(port)
}

/// Both directions, until one side ends. A VM that is deleted meanwhile ends
/// with its connections.
async fn lead(mut outside: impl AsyncRead + AsyncWrite + Unpin, vm: Arc<Vm>, inner: SocketAddr) {
    let network = vm.machine.network();
    drop(vm);
    let connected = tokio::task::spawn_blocking(move || network.connect(inner)).await;
    let Ok(Ok(stream)) = connected else {
        return;
    };
    if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
        return;
    }
    if let Ok(mut inside) = TcpStream::from_std(stream) {
        drop(copy_bidirectional(&mut outside, &mut inside).await);
    }
}
