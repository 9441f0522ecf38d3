//! Private keys of the user: files, a secret, certificates. Reads them, and
//! reports why one cannot be used. Knows nothing of connections.

use russh::keys::{Certificate, Error, PrivateKey, PublicKey, decode_secret_key};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vdeploy_core::capability::secrets::Secret;
use zeroize::Zeroizing;

/// Bytes; no key and no certificate is larger.
const LARGEST: u64 = 256 * 1024;

/// The keys to log in with at one server.
#[derive(Clone, Debug)]
pub struct Identities {
    /// Private keys, in the order in which they are tried.
    pub files: Vec<IdentityFile>,
    /// Certificates, besides those that lie next to the key files.
    pub certificates: Vec<PathBuf>,
    /// A private key that is a secret; tried first.
    pub key: Option<Secret>,
    /// Opens encrypted private keys.
    pub passphrase: Option<Secret>,
    pub agent: Agent,
    /// `IdentitiesOnly`: the agent's keys count only if they are among the files.
    pub only: bool,
}

/// A private key in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityFile {
    /// The private key, or its public half when an agent has the other.
    pub path: PathBuf,
    /// Whether the user named it: then a missing file is reported.
    pub named: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Agent {
    /// No agent is asked; the reason, for messages.
    Off(String),
    /// The agent that listens on this socket.
    At(PathBuf),
}

/// A key that may log in.
pub(crate) struct Identity {
    /// Where it comes from, for messages.
    pub(crate) label: String,
    /// `None` for encrypted files that do not contain it in the clear.
    pub(crate) public: Option<PublicKey>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) private: Private,
}

/// Where the private half is.
pub(crate) enum Private {
    Open(Arc<PrivateKey>),
    Locked(Zeroizing<String>),
    /// Unknown; an agent may have it.
    Elsewhere,
    Agent,
}

/// The identities that could be read, and why others could not.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) identities: Vec<Identity>,
    pub(crate) remarks: Vec<String>,
}

impl Identities {
    /// Reads every key and certificate; opens no encrypted one.
    pub(crate) fn read(&self) -> Found {
        let (mut identities, mut remarks) = (Vec::new(), Vec::new());
        if let Some(secret) = &self.key {
            let label = format!("the secret `{}`", secret.name);
            let text = Zeroizing::new(secret.value.expose().to_owned());
            match from_text(label.clone(), text) {
                Ok(identity) => identities.push(identity),
                Err(why) => remarks.push(format!("{label} {why}")),
            }
        }
        for file in &self.files {
            match read_file(file) {
                Ok(found) => identities.extend(found),
                Err(why) => remarks.push(format!("{} {why}", file.path.display())),
            }
        }
        for path in &self.certificates {
            let label = path.display().to_string();
            match read_certificate(path) {
                Ok(Some(certificate)) => attach(&mut identities, label, certificate),
                Ok(None) => remarks.push(format!("{label} does not exist")),
                Err(why) => remarks.push(format!("{label} {why}")),
            }
        }
        Found {
            identities,
            remarks,
        }
    }

    /// Opens an encrypted private key; the error continues the key's label.
    pub(crate) fn unlock(&self, text: &str) -> Result<PrivateKey, String> {
        let Some(passphrase) = &self.passphrase else {
            return Err(
                "is encrypted; name the secret with its passphrase: passphrase = \
                        \"NAME\" in the target, or let an SSH agent have the key"
                    .to_owned(),
            );
        };
        decode_secret_key(text, Some(passphrase.value.expose())).map_err(|_| {
            format!(
                "cannot be opened: the secret `{}` is not its passphrase",
                passphrase.name
            )
        })
    }
}

/// Adds a certificate to its key, or as an identity whose key an agent may have.
fn attach(identities: &mut Vec<Identity>, label: String, certificate: Certificate) {
    let of_it = |identity: &&mut Identity| {
        identity.certificate.is_none()
            && identity
                .public
                .as_ref()
                .is_some_and(|key| key.key_data() == certificate.public_key())
    };
    match identities.iter_mut().find(of_it) {
        Some(identity) => identity.certificate = Some(certificate),
        None => identities.push(Identity {
            label,
            public: Some(PublicKey::new(certificate.public_key().clone(), "")),
            certificate: Some(certificate),
            private: Private::Elsewhere,
        }),
    }
}

fn read_file(file: &IdentityFile) -> Result<Option<Identity>, String> {
    let label = file.path.display().to_string();
    let beside = |end: &str| {
        let mut name = file.path.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    let mut identity = match read_text(&file.path)? {
        Some(text) if is_public(&text) => Identity {
            public: Some(public_key(&text)?),
            label,
            certificate: None,
            private: Private::Elsewhere,
        },
        Some(text) => {
            only_for_its_owner(&file.path)?;
            from_text(label, text)?
        }
        // The private half may be in an agent only.
        None => match read_text(&beside(".pub"))? {
            Some(text) => Identity {
                public: Some(public_key(&text)?),
                label,
                certificate: None,
                private: Private::Elsewhere,
            },
            None if file.named => return Err("does not exist".to_owned()),
            None => return Ok(None),
        },
    };
    if identity.public.is_none()
        && let Ok(Some(text)) = read_text(&beside(".pub"))
    {
        identity.public = public_key(&text).ok();
    }
    if let Ok(Some(certificate)) = read_certificate(&beside("-cert.pub")) {
        identity.certificate = Some(certificate);
    }
    Ok(Some(identity))
}

fn from_text(label: String, text: Zeroizing<String>) -> Result<Identity, String> {
    let identity = |public, private| Identity {
        label,
        public,
        certificate: None,
        private,
    };
    match decode_secret_key(&text, None) {
        Ok(key) if is_on_a_token(&key) => {
            let public = key.public_key().clone();
            Ok(identity(Some(public), Private::Elsewhere))
        }
        Ok(key) => {
            let public = key.public_key().clone();
            Ok(identity(Some(public), Private::Open(Arc::new(key))))
        }
        Err(_) if is_encrypted(&text) => {
            // OpenSSH's format has the public half in the clear.
            let public = PrivateKey::from_openssh(text.as_bytes())
                .ok()
                .map(|key| key.public_key().clone());
            Ok(identity(public, Private::Locked(text)))
        }
        Err(error) => Err(format!("is no private key that can be read ({error})")),
    }
}

/// Each format marks encryption in its own way, and decoders report it differently.
fn is_encrypted(text: &str) -> bool {
    matches!(decode_secret_key(text, None), Err(Error::KeyIsEncrypted))
        || text.contains("BEGIN ENCRYPTED PRIVATE KEY")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn is_on_a_token(key: &PrivateKey) -> bool {
    use russh::keys::Algorithm;
    matches!(
        key.algorithm(),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
    )
}

fn is_public(text: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|s| text.starts_with(s))
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_openssh(text).map_err(|e| format!("is no public key that can be read ({e})"))
}

fn read_certificate(path: &Path) -> Result<Option<Certificate>, String> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    Certificate::from_openssh(text.trim())
        .map(Some)
        .map_err(|e| format!("is no certificate that can be read ({e})"))
}

/// `None` if there is no such file.
fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot be read: {e}")),
    };
    let mut text = Zeroizing::new(String::new());
    match file.take(LARGEST + 1).read_to_string(&mut text) {
        Ok(n) if n as u64 > LARGEST => Err("is too large for a key".to_owned()),
        Ok(_) => Ok(Some(text)),
        Err(e) => Err(format!("cannot be read: {e}")),
    }
}

/// OpenSSH refuses a private key that others can read, and so does vdeploy.
fn only_for_its_owner(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?;
    let ours = meta.uid() == rustix::process::getuid().as_raw();
    match ours && meta.mode() & 0o077 != 0 {
        true => Err(format!(
            "can be read by others and is not used; run: chmod 600 {}",
            path.display()
        )),
        false => Ok(()),
    }
}
