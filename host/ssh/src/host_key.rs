//! Which host key a target may show: a pinned fingerprint, one from the
//! `known_hosts` files, or the one stored on first use. Callers choose where
//! fingerprints are stored; the user's own files are only read.

use crate::openssh::{HostKeyStatus, Known, KnownFiles};
use russh::client;
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::ids::VmId;

/// Keeps fingerprints between runs, each under the name of the key's owner: a VM
/// id, or a server's name as `known_hosts` writes it.
pub trait HostKeyStore: Send + Sync + Debug {
    /// The stored fingerprint (`SHA256:…`), if there is one.
    fn get(&self, name: &str) -> Result<Option<String>, EffectError>;
    fn set(&self, name: &str, fingerprint: &str) -> Result<(), EffectError>;
}

/// Fingerprints of this process only, for tests and one-off use.
#[derive(Debug, Default)]
pub struct MemoryHostKeys(Mutex<std::collections::BTreeMap<String, String>>);

impl HostKeyStore for MemoryHostKeys {
    fn get(&self, name: &str) -> Result<Option<String>, EffectError> {
        let keys = self.0.lock().unwrap_or_else(|e| e.into_inner());
        Ok(keys.get(name).cloned())
    }
    fn set(&self, name: &str, fingerprint: &str) -> Result<(), EffectError> {
        let mut keys = self.0.lock().unwrap_or_else(|e| e.into_inner());
        keys.insert(name.to_owned(), fingerprint.to_owned());
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub enum HostKeyPolicy {
    /// Only this fingerprint (`SHA256:…`), on every VM of the target: a
    /// restored VM has the host key of the VM that the snapshot was taken of.
    Pinned(String),
    /// The fingerprint stored for the VM.
    Stored {
        store: Arc<dyn HostKeyStore>,
        /// Trust on first use: accepts and stores the key of a VM without a
        /// stored fingerprint. False refuses it and reports the fingerprint.
        first_use: bool,
    },
    /// A key from the `known_hosts` files.
    Known {
        /// The files, and the server's name in them.
        files: KnownFiles,
        /// Stores the key of a server that the files do not have; `None` refuses
        /// it.
        store: Option<Arc<dyn HostKeyStore>>,
    },
}

impl HostKeyPolicy {
    /// What the server called `name` must show.
    pub(super) fn expected(&self, name: &str) -> Result<Expected, EffectError> {
        Ok(match self {
            HostKeyPolicy::Known { files, store } => {
                let known = files
                    .read()
                    .map_err(|why| EffectError::new(ErrorKind::Denied, codes::SSH_HOST_KEY, why))?;
                Expected::Known {
                    known: Box::new(known),
                    otherwise: match store {
                        Some(store) => Some(store.get(name)?),
                        None => None,
                    },
                }
            }
            HostKeyPolicy::Pinned(fingerprint) => Expected::Exactly(fingerprint.clone()),
            HostKeyPolicy::Stored { store, first_use } => match store.get(name)? {
                Some(fingerprint) => Expected::Exactly(fingerprint),
                None if *first_use => Expected::Anything,
                None => Expected::Nothing,
            },
        })
    }

    /// Stores a new key after the login has succeeded.
    pub(super) fn learn(&self, name: &str, shown: &Shown) -> Result<(), EffectError> {
        let store = match self {
            HostKeyPolicy::Stored { store, .. } => Some(store),
            HostKeyPolicy::Known { store, .. } => store.as_ref(),
            HostKeyPolicy::Pinned(_) => None,
        };
        match store {
            Some(store) if shown.is_new => store.set(name, &shown.fingerprint),
            _ => Ok(()),
        }
    }

    /// `to` was restored from `from` and has its host key.
    pub(super) fn carry(&self, from: &VmId, to: &VmId) -> Result<(), EffectError> {
        if let HostKeyPolicy::Stored { store, .. } = self
            && let Some(fingerprint) = store.get(from.as_str())?
        {
            store.set(to.as_str(), &fingerprint)?;
        }
        Ok(())
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    Exactly(String),
    Anything,
    Nothing,
    /// What the files know. Where they know nothing: the stored fingerprint, or
    /// any key if none is stored. The outer `None` accepts nothing else.
    Known {
        known: Box<Known>,
        otherwise: Option<Option<String>>,
    },
}

/// A key that was accepted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Shown {
    pub(super) fingerprint: String,
    pub(super) is_new: bool,
}

/// A key that was refused.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    pub(super) shown: PublicKey,
    pub(super) why: Refusal,
}

/// Why a key was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It is not the pinned or stored one.
    Other { expected: String },
    /// It is unknown, and trust on first use is off.
    NotStored,
    /// The `known_hosts` files do not have the server; they would write it as
    /// `name`.
    Unknown { name: String, file: Option<PathBuf> },
    /// The files have another key for it.
    Changed { place: String, expected: String },
    /// The files revoke the key.
    Revoked { place: String },
    /// Its certificate, of an authority in the files, is not valid.
    Certificate { place: String, why: String },
}

impl Expected {
    /// Accepts or refuses the key; true if it is new.
    fn judge(&self, key: &PublicKey, shown: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        let found = fingerprint(key);
        let exactly = |expected: &String| match *expected == found {
            true => Ok(false),
            false => Err(Refusal::Other {
                expected: expected.clone(),
            }),
        };
        match self {
            Expected::Anything => Ok(true),
            Expected::Exactly(expected) => exactly(expected),
            Expected::Nothing => Err(Refusal::NotStored),
            Expected::Known { known, otherwise } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let now = now.unwrap_or_default().as_secs();
                match (known.judge(key, shown.certificate(), now), otherwise) {
                    (HostKeyStatus::Known, _) => Ok(false),
                    (HostKeyStatus::New, Some(None)) => Ok(true),
                    (HostKeyStatus::New, Some(Some(stored))) => exactly(stored),
                    (HostKeyStatus::New, None) => Err(Refusal::Unknown {
                        name: known.written().to_owned(),
                        file: known.first_file().map(PathBuf::from),
                    }),
                    (HostKeyStatus::Changed { place, expected }, _) => {
                        Err(Refusal::Changed { place, expected })
                    }
                    (HostKeyStatus::Revoked { place }, _) => Err(Refusal::Revoked { place }),
                    (HostKeyStatus::Certificate { place, why }, _) => {
                        Err(Refusal::Certificate { place, why })
                    }
                }
            }
        }
    }
}

/// The fingerprint as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Why a connection's task ended.
#[derive(Debug)]
pub(super) enum HandshakeError {
    HostKey(Box<Mismatch>),
    Ssh(russh::Error),
}

impl From<russh::Error> for HandshakeError {
    fn from(error: russh::Error) -> Self {
        HandshakeError::Ssh(error)
    }
}

/// Holds the key once it was accepted.
pub(super) type Accepted = Arc<Mutex<Shown>>;

/// Notified when the server has announced its host keys, as OpenSSH does once,
/// right after the login.
pub(super) type Announced = Arc<Notify>;

/// Checks the host key of one connection.
#[derive(Debug)]
pub(super) struct HostKeyCheck {
    expected: Expected,
    accepted: Accepted,
    announced: Announced,
}

impl HostKeyCheck {
    /// The check, and where it puts the accepted key.
    pub(super) fn new(expected: Expected) -> (Self, Accepted) {
        let accepted = Accepted::default();
        let check = Self {
            expected,
            accepted: accepted.clone(),
            announced: Announced::default(),
        };
        (check, accepted)
    }

    pub(super) fn announced(&self) -> Announced {
        self.announced.clone()
    }
}

pub(super) fn shown(accepted: &Accepted) -> Shown {
    accepted.lock().unwrap_or_else(|e| e.into_inner()).clone()
}

impl client::Handler for HostKeyCheck {
    type Error = HandshakeError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, HandshakeError> {
        let key = shown.public_key();
        match self.expected.judge(&key, shown) {
            Ok(is_new) => {
                *self.accepted.lock().unwrap_or_else(|e| e.into_inner()) = Shown {
                    fingerprint: fingerprint(&key),
                    is_new,
                };
                Ok(true)
            }
            Err(why) => Err(HandshakeError::HostKey(Box::new(Mismatch {
                shown: key,
                why,
            }))),
        }
    }

    async fn openssh_ext_host_keys_announced(
        &mut self,
        _keys: Vec<PublicKey>,
        _session: &mut client::Session,
    ) -> Result<(), HandshakeError> {
        self.announced.notify_one();
        Ok(())
    }
}
