//! Which host key a target may show: a pinned fingerprint, or the one stored
//! when the target was first reached. Where stored fingerprints live is the
//! caller's business.

use crate::capability::EffectError;
use crate::ids::VmId;
use russh::client;
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

/// Keeps fingerprints between runs, each under the name of what has the key:
/// a VM id, or a server's name as files of known hosts write it.
pub trait HostKeyStore: Send + Sync + Debug {
    /// The stored fingerprint (`SHA256:…`), if there is one.
    fn get(&self, name: &str) -> Result<Option<String>, EffectError>;
    /// Stores a fingerprint.
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

/// How the host key of a VM is checked.
#[derive(Clone, Debug)]
pub enum HostKeyPolicy {
    /// Only this fingerprint (`SHA256:…`), on every VM of the target: a
    /// restored VM has the host key of the VM that the snapshot was taken of.
    Pinned(String),
    /// The fingerprint stored for the VM.
    Stored {
        /// Where it is stored.
        store: Arc<dyn HostKeyStore>,
        /// Whether the key of a VM without a stored fingerprint is taken and
        /// stored. False refuses it and says the fingerprint.
        first_use: bool,
    },
}

impl HostKeyPolicy {
    /// What the holder of `name` must show.
    pub(super) fn expected(&self, name: &str) -> Result<Expected, EffectError> {
        Ok(match self {
            HostKeyPolicy::Pinned(fingerprint) => Expected::Exactly(fingerprint.clone()),
            HostKeyPolicy::Stored { store, first_use } => match store.get(name)? {
                Some(fingerprint) => Expected::Exactly(fingerprint),
                None if *first_use => Expected::Anything,
                None => Expected::Nothing,
            },
        })
    }

    /// Stores what was shown under a name without a stored fingerprint, once
    /// it has let us in.
    pub(super) fn learn(&self, name: &str, fingerprint: &str) -> Result<(), EffectError> {
        if let HostKeyPolicy::Stored { store, .. } = self
            && store.get(name)?.as_deref() != Some(fingerprint)
        {
            store.set(name, fingerprint)?;
        }
        Ok(())
    }

    /// `to` was made from `from` and has its host key.
    pub(super) fn carry(&self, from: &VmId, to: &VmId) -> Result<(), EffectError> {
        if let HostKeyPolicy::Stored { store, .. } = self
            && let Some(fingerprint) = store.get(from.as_str())?
        {
            store.set(to.as_str(), &fingerprint)?;
        }
        Ok(())
    }
}

/// What one connection must show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    Exactly(String),
    Anything,
    Nothing,
}

/// A key that was refused.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    pub(super) expected: Option<String>,
    pub(super) shown: PublicKey,
}

/// The fingerprint as `ssh-keygen -l` prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Why a connection's task ended.
#[derive(Debug)]
pub(super) enum Ended {
    HostKey(Box<Mismatch>),
    Ssh(russh::Error),
}

impl From<russh::Error> for Ended {
    fn from(error: russh::Error) -> Self {
        Ended::Ssh(error)
    }
}

/// The client's side of one connection: it only checks the host key.
#[derive(Debug)]
pub(super) struct HostKeyCheck {
    pub(super) expected: Expected,
    pub(super) shown: Arc<Mutex<Option<String>>>,
}

impl HostKeyCheck {
    /// A check, and where the fingerprint stands once it was accepted.
    pub(super) fn new(expected: Expected) -> (Self, Arc<Mutex<Option<String>>>) {
        let shown = Arc::<Mutex<Option<String>>>::default();
        let check = Self {
            expected,
            shown: shown.clone(),
        };
        (check, shown)
    }
}

impl client::Handler for HostKeyCheck {
    type Error = Ended;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Ended> {
        let key = key.public_key();
        let shown = fingerprint(&key);
        let expected = match &self.expected {
            Expected::Anything => None,
            Expected::Exactly(fingerprint) if *fingerprint == shown => None,
            Expected::Exactly(fingerprint) => Some(Some(fingerprint.clone())),
            Expected::Nothing => Some(None),
        };
        if let Some(expected) = expected {
            let shown = key;
            return Err(Ended::HostKey(Box::new(Mismatch { expected, shown })));
        }
        *self.shown.lock().unwrap_or_else(|e| e.into_inner()) = Some(shown);
        Ok(true)
    }
}
