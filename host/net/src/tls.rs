//! TLS for every outgoing connection: one provider (`ring`), the machine's
//! root certificates, an extra CA file if one is named. Never a process-wide
//! default provider.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of extra CA certificates cannot be used.
    #[error("the CA file {path} cannot be used: {why}; it must hold PEM certificates", path = path.display())]
    CaFile {
        /// The file as configured.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The library refused the set-up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsOptions {
    /// PEM file with CA certificates trusted in addition to the machine's.
    pub ca_file: Option<PathBuf>,
    /// False accepts any certificate. Only for a trusted network.
    pub verify: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            ca_file: None,
            verify: true,
        }
    }
}

/// A client's TLS set-up; cheap to clone. Building one reads the machine's
/// root certificates, so share it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the certificates and builds the set-up.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let extra = match &options.ca_file {
            Some(path) => read_ca_file(path)?,
            None => Vec::new(),
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let config = if !options.verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth()
        } else {
            match rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider) {
                Ok(verifier) => builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
                    .with_no_client_auth(),
                Err(error) => {
                    // A machine without root certificates can still talk to
                    // plain servers; every TLS server is refused.
                    tracing::warn!(%error, "no root certificates on this machine");
                    builder
                        .with_root_certificates(RootCertStore::empty())
                        .with_no_client_auth()
                }
            }
        };
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// For `tokio_rustls`.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |why: String| TlsError::CaFile {
        path: path.to_owned(),
        why,
    };
    let certs: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| fail(e.to_string()))?;
    if certs.is_empty() {
        return Err(fail("it holds no certificate".to_owned()));
    }
    let mut probe = RootCertStore::empty();
    for cert in &certs {
        probe.add(cert.clone()).map_err(|e| fail(e.to_string()))?;
    }
    Ok(certs)
}

/// Finds a rustls error in an error's chain of causes.
pub fn find_rustls_error<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An io::Error hides what it wraps from `source`.
        if let Some(inner) = e.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref())
            && let Some(found) = find_rustls_error(inner)
        {
            return Some(found);
        }
        next = e.source();
    }
    None
}

/// The last error of a chain of causes: the outer ones only repeat the address. Where
/// the other end closed the connection, TLS libraries quote their protocol and their
/// documentation; an operator needs neither.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    loop {
        let gone = last
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::UnexpectedEof);
        if gone {
            return "the connection was closed at the other end".to_owned();
        }
        match last.source() {
            Some(next) => last = next,
            None => return last.to_string(),
        }
    }
}

/// The opt-out of verification: any certificate, but the handshake must be
/// signed with its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_closed_is_told_without_links_to_documentation() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request for url (https://h/)")]
        struct Outer(#[source] std::io::Error);
        let said = "peer closed connection without sending TLS close_notify: https://docs.rs/x";
        let gone = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, said);
        for error in [
            &gone() as &(dyn std::error::Error + 'static),
            &Outer(gone()),
        ] {
            assert_eq!(cause(error), "the connection was closed at the other end");
        }
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(cause(&Outer(reset)), "connection reset");
    }

    #[test]
    fn a_ca_file_without_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty.pem");
        std::fs::write(&path, "nothing").unwrap();
        let options = TlsOptions {
            ca_file: Some(path),
            verify: true,
        };
        let error = Tls::new(&options).unwrap_err().to_string();
        assert!(error.contains("empty.pem"), "{error}");
    }
}
