//! Ends TLS before the server, as the platform's proxy does.

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Listens with a certificate for `*.vm.localhost`, whose authority is written
/// to `ca_file`.
pub fn start(to: SocketAddr, ca_file: &Path) -> Result<SocketAddr> {
    let acceptor = TlsAcceptor::from(server(ca_file)?);
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = TcpListener::from_std(listener) else {
                return;
            };
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { serve(acceptor, tcp, to).await });
            }
        });
    });
    Ok(address)
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, to: SocketAddr) -> Result<()> {
    tcp.set_nodelay(true)?;
    let mut outside = acceptor.accept(tcp).await?;
    let mut inside = TcpStream::connect(to).await?;
    inside.set_nodelay(true)?;
    let piece = 64 * 1024;
    tokio::io::copy_bidirectional_with_sizes(&mut outside, &mut inside, piece, piece).await?;
    Ok(())
}

fn server(ca_file: &Path) -> Result<Arc<ServerConfig>> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["*.vm.localhost".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &ca)?;
    std::fs::write(ca_file, ca.pem()).context("the CA file")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    Ok(Arc::new(config))
}
