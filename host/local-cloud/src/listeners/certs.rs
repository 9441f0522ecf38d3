//! The certificates of the cloud, kept in `<root>/certs`.
//!
//! A CA signs one certificate for `*.vm.localhost`, and its key is discarded at once: to trust
//! `ca.pem` is to trust this one certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::VM_DOMAIN;
use crate::error::LocalError;
use crate::state_file::write_private_bytes;
use vdeploy_files::make_private_dir;

/// The files of the certificates.
pub(crate) struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Uses the certificates under `root`, or makes them at the first start.
    pub(crate) fn open(root: &Path) -> Result<Certificates, LocalError> {
        let dir = root.join("certs");
        make_private_dir(&dir).map_err(LocalError::io("create", &dir))?;
        let certificates = Certificates { dir };
        let complete = [
            certificates.ca_file(),
            certificates.cert_file(),
            certificates.key_file(),
        ]
        .iter()
        .all(|file| file.exists());
        if !complete {
            certificates.make()?;
        }
        Ok(certificates)
    }

    /// PEM file of the authority, for clients.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    fn cert_file(&self) -> PathBuf {
        self.dir.join("vm.pem")
    }

    fn key_file(&self) -> PathBuf {
        self.dir.join("vm.key")
    }

    fn make(&self) -> Result<(), LocalError> {
        let (ca, cert, key) = sign().map_err(|e| self.error(&e))?;
        write_private_bytes(&self.key_file(), key.as_bytes())?;
        write_private_bytes(&self.cert_file(), cert.as_bytes())?;
        write_private_bytes(&self.ca_file(), ca.as_bytes())
    }

    /// The TLS settings of gateway and router: TLS 1.2 and 1.3, ALPN `http/1.1`.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, LocalError> {
        let chain = CertificateDer::pem_file_iter(self.cert_file())
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| self.error(&e))?;
        let key = PrivateKeyDer::from_pem_file(self.key_file()).map_err(|e| self.error(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_no_client_auth())
            .and_then(|builder| builder.with_single_cert(chain, key))
            .map_err(|e| self.error(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn error(&self, reason: &dyn std::fmt::Display) -> LocalError {
        LocalError::Certificate {
            dir: self.dir.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Makes an authority and a certificate: PEM of the authority, of the certificate, of its key.
fn sign() -> Result<(String, String, String), rcgen::Error> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "vdeploy local cloud");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let mut leaf = CertificateParams::new(vec![format!("*.{VM_DOMAIN}"), VM_DOMAIN.to_owned()])?;
    leaf.distinguished_name
        .push(DnType::CommonName, format!("*.{VM_DOMAIN}"));
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate()?;
    let leaf_cert = leaf.signed_by(&leaf_key, &issuer)?;
    Ok((ca_cert.pem(), leaf_cert.pem(), leaf_key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_uses_the_same_certificates() {
        let root = tempfile::tempdir().unwrap();
        let first = Certificates::open(root.path()).unwrap();
        let ca = std::fs::read(first.ca_file()).unwrap();
        let second = Certificates::open(root.path()).unwrap();
        assert_eq!(std::fs::read(second.ca_file()).unwrap(), ca);
        second.server_config().unwrap();
    }

    #[test]
    fn the_key_of_the_authority_is_not_kept() {
        let root = tempfile::tempdir().unwrap();
        Certificates::open(root.path()).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(root.path().join("certs"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["ca.pem", "vm.key", "vm.pem"]);
    }
}
