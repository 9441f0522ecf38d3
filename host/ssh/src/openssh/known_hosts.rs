//! `known_hosts`: the known host keys of a server.

use super::pattern;
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use sha1::Sha1;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes; a longer file is no `known_hosts`.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The files for one server, and its name in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownFiles {
    /// In order; a new host belongs into the first.
    pub files: Vec<PathBuf>,
    /// `RevokedHostKeys`: one key per line, never accepted.
    pub revoked: Option<PathBuf>,
    /// The server's name, or the alias of its host key.
    pub name: String,
    /// `None` for an alias, which has no port.
    pub port: Option<u16>,
}

/// The lines of the files about one server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    name: String,
    /// As the files write it.
    written: String,
    first_file: Option<PathBuf>,
    lines: Vec<Line>,
    /// Lines for the name without a port: they may confirm a key, not refuse one.
    without_port: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    place: String,
    marker: Option<Marker>,
    key: PublicKey,
}

/// How the files judge a key that a server shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostKeyStatus {
    /// The files have it for this server.
    Known,
    /// The files do not have this server.
    New,
    /// The files have another key for this server.
    Changed {
        /// `FILE:LINE` of the other key.
        place: String,
        /// The fingerprint of the other key.
        expected: String,
    },
    /// The files revoke it.
    Revoked {
        /// `FILE:LINE` of the revocation.
        place: String,
    },
    /// An authority for this server signed its certificate, which is not valid.
    Certificate {
        /// `FILE:LINE` of the authority.
        place: String,
        why: String,
    },
}

impl KnownFiles {
    /// As the files write the server: with its port unless that is 22.
    pub fn written(&self) -> String {
        match self.port {
            Some(port) if port != 22 => format!("[{}]:{port}", self.name),
            _ => self.name.clone(),
        }
    }

    /// Reads the files; a missing one counts as empty.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn read(&self) -> Result<Known, String> {
        let written = self.written();
        let mut known = Known {
            name: self.name.clone(),
            first_file: self.files.first().cloned(),
            lines: Vec::new(),
            without_port: Vec::new(),
            written,
        };
        for file in &self.files {
            let Some(text) = read(file)? else { continue };
            for (index, line) in text.lines().enumerate() {
                let Some(entry) = entry(line) else { continue };
                let line = |entry: &Entry| Line {
                    place: format!("{}:{}", file.display(), index + 1),
                    marker: entry.marker().copied(),
                    key: entry.public_key().clone(),
                };
                if names(&entry, &known.written) {
                    known.lines.push(line(&entry));
                } else if known.written != self.name && names(&entry, &self.name) {
                    known.without_port.push(line(&entry));
                }
            }
        }
        if let Some(file) = &self.revoked {
            known.lines.extend(revoked(file)?);
        }
        Ok(known)
    }
}

impl Known {
    /// As the files write the server.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Where a new server belongs.
    pub fn first_file(&self) -> Option<&Path> {
        self.first_file.as_deref()
    }

    /// Whether the files have a key of this kind for the server.
    pub fn has_kind(&self, kind: &Algorithm) -> bool {
        let same = |line: &&Line| same_kind(&line.key.algorithm(), kind);
        self.plain().any(|line| same(&line))
    }

    /// Whether the files have a certificate authority for the server.
    pub fn has_authority(&self) -> bool {
        self.authorities().next().is_some()
    }

    /// Judges a key; `now` is in seconds since 1970.
    pub fn judge(
        &self,
        key: &PublicKey,
        certificate: Option<&Certificate>,
        now: u64,
    ) -> HostKeyStatus {
        let same = |line: &Line, key: &PublicKey| line.key.key_data() == key.key_data();
        let signer = certificate.map(|c| PublicKey::new(c.signature_key().clone(), ""));
        let all = self.lines.iter().chain(&self.without_port);
        let revoked = all.filter(|line| line.marker == Some(Marker::Revoked));
        for line in revoked {
            if same(line, key) || signer.as_ref().is_some_and(|signer| same(line, signer)) {
                let place = line.place.clone();
                return HostKeyStatus::Revoked { place };
            }
        }
        if let (Some(certificate), Some(signer)) = (certificate, &signer)
            && let Some(line) = self.authorities().find(|line| same(line, signer))
        {
            return match self.certified(certificate, signer, now) {
                Ok(()) => HostKeyStatus::Known,
                Err(why) => HostKeyStatus::Certificate {
                    place: line.place.clone(),
                    why,
                },
            };
        }
        if self.plain().any(|line| same(line, key)) {
            return HostKeyStatus::Known;
        }
        let of_this_name = || self.lines.iter().filter(|line| line.marker.is_none());
        let kind = key.algorithm();
        let other = of_this_name()
            .find(|line| same_kind(&line.key.algorithm(), &kind))
            .or_else(|| of_this_name().next());
        match other {
            Some(line) => HostKeyStatus::Changed {
                place: line.place.clone(),
                expected: line.key.fingerprint(HashAlg::Sha256).to_string(),
            },
            None => HostKeyStatus::New,
        }
    }

    /// Lines with the port win over those that name the host alone.
    fn plain(&self) -> impl Iterator<Item = &Line> {
        let is_plain = |line: &&Line| line.marker.is_none();
        let lines = match self.lines.iter().any(|line| is_plain(&line)) {
            true => &self.lines,
            false => &self.without_port,
        };
        lines.iter().filter(is_plain)
    }

    fn authorities(&self) -> impl Iterator<Item = &Line> {
        let all = self.lines.iter().chain(&self.without_port);
        all.filter(|line| line.marker == Some(Marker::CertAuthority))
    }

    fn certified(
        &self,
        certificate: &Certificate,
        signer: &PublicKey,
        now: u64,
    ) -> Result<(), String> {
        if certificate.cert_type() != CertType::Host {
            return Err("it is no certificate of a host".to_owned());
        }
        if !(certificate.valid_after()..certificate.valid_before()).contains(&now) {
            return Err("it is not valid at this time".to_owned());
        }
        if !certificate.valid_principals().contains(&self.name) {
            let names = certificate.valid_principals().join(", ");
            return Err(format!("it is for {names}, not for {}", self.name));
        }
        if !certificate.critical_options().is_empty() {
            return Err("it has options that are not known here".to_owned());
        }
        if certificate.signature().algorithm() == (Algorithm::Rsa { hash: None }) {
            return Err("it is signed with SHA-1, which can be forged".to_owned());
        }
        let signer = signer.fingerprint(HashAlg::Sha256);
        certificate
            .validate_at(now, [&signer])
            .map_err(|_| "its signature is wrong".to_owned())
    }
}

/// RSA is one kind, whatever its hash.
fn same_kind(a: &Algorithm, b: &Algorithm) -> bool {
    a == b || (a.clone().is_rsa() && b.clone().is_rsa())
}

/// A line of the file; `None` for comments and for kinds of keys that no server
/// can show.
fn entry(line: &str) -> Option<Entry> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").parse().ok()
}

fn names(entry: &Entry, name: &str) -> bool {
    match entry.host_patterns() {
        HostPatterns::Patterns(patterns) => {
            let patterns: Vec<String> = patterns.iter().map(|p| p.to_lowercase()).collect();
            pattern::matches_list(name, patterns.iter().map(String::as_str))
        }
        HostPatterns::HashedName { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
            .is_ok_and(|mac| mac.chain_update(name).verify_slice(hash).is_ok()),
    }
}

fn read(file: &Path) -> Result<Option<Arc<str>>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{} cannot be read: {why}", file.display());
    match std::fs::metadata(file) {
        Ok(meta) if meta.len() > LONGEST => Err(wrong(&"it is too long")),
        Ok(_) => {
            let bytes = std::fs::read(file).map_err(|e| wrong(&e))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(&e)),
    }
}

/// `RevokedHostKeys`: one key per line. OpenSSH accepts no host when the file is
/// missing.
fn revoked(file: &Path) -> Result<Vec<Line>, String> {
    let shown = file.display();
    let text = read(file)?.ok_or_else(|| {
        format!("{shown}, the file of revoked host keys, does not exist; nothing is accepted")
    })?;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{shown}:{}", index + 1);
        let key = PublicKey::from_openssh(line).map_err(|_| {
            format!(
                "{place} is no public key; vdeploy reads RevokedHostKeys only as a list of keys"
            )
        })?;
        let marker = Some(Marker::Revoked);
        lines.push(Line { place, marker, key });
    }
    Ok(lines)
}
