//! An authority of the tests' own, and the one certificate that it signs: for
//! `localhost` and every VM's host name.

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use std::path::Path;
use std::sync::Arc;

/// Writes the authority to `ca_file` and gives what a server needs.
pub fn make(ca_file: &Path, domain: &str) -> Result<Arc<ServerConfig>> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "vdeploy platform tests");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate()?;
    std::fs::write(ca_file, ca.self_signed(&ca_key)?.pem())?;
    let names = vec![format!("*.{domain}"), "localhost".to_owned()];
    let mut leaf = CertificateParams::new(names)?;
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let cert = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let der = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(anyhow::Error::msg)
        .context("the key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], der)?;
    Ok(Arc::new(config))
}
