//! Which host key a target may show: a pinned fingerprint, or the one stored
//! when the target was first reached. Where stored fingerprints live is the
//! caller's business.

use crate::capability::EffectError;
use crate::ids::VmId;
use russh::client;
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

/// Keeps the fingerprint of each VM between runs.
pub trait HostKeyStore: Send + Sync + Debug {
    /// The stored fingerprint (`SHA256:…`), if there is one.
    fn get(&self, vm: &VmId) -> Result<Option<String>, EffectError>;
    /// Stores the fingerprint of a VM.
    fn set(&self, vm: &VmId, fingerprint: &str) -> Result<(), EffectError>;
}

/// Fingerprints of this process only, for tests and one-off use.
#[derive(Debug, Default)]
pub struct MemoryHostKeys(Mutex<std::collections::BTreeMap<VmId, String>>);

impl HostKeyStore for MemoryHostKeys {
    fn get(&self, vm: &VmId) -> Result<Option<String>, EffectError> {
        let keys = self.0.lock().unwrap_or_else(|e| e.into_inner());
        Ok(keys.get(vm).cloned())
    }
    fn set(&self, vm: &VmId, fingerprint: &str) -> Result<(), EffectError> {
        let mut keys = self.0.lock().unwrap_or_else(|e| e.into_inner());
        keys.insert(vm.clone(), fingerprint.to_owned());
        Ok(())
    }
}

/// How the target's host key is checked.
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
    /// What `vm` must show.
    pub(super) fn expected(&self, vm: &VmId) -> Result<Expected, EffectError> {
        Ok(match self {
            HostKeyPolicy::Pinned(fingerprint) => Expected::Exactly(fingerprint.clone()),
            HostKeyPolicy::Stored { store, first_use } => match store.get(vm)? {
                Some(fingerprint) => Expected::Exactly(fingerprint),
                None if *first_use => Expected::Anything,
                None => Expected::Nothing,
            },
        })
    }

    /// Stores what a VM without a stored fingerprint showed, once it has let
    /// us in.
    pub(super) fn learn(&self, vm: &VmId, fingerprint: &str) -> Result<(), EffectError> {
        if let HostKeyPolicy::Stored { store, .. } = self
            && store.get(vm)?.as_deref() != Some(fingerprint)
        {
            store.set(vm, fingerprint)?;
        }
        Ok(())
    }

    /// `to` was made from `from` and has its host key.
    pub(super) fn carry(&self, from: &VmId, to: &VmId) -> Result<(), EffectError> {
        if let HostKeyPolicy::Stored { store, .. } = self
            && let Some(fingerprint) = store.get(from)?
        {
            store.set(to, &fingerprint)?;
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
    pub(super) shown: String,
}

/// Why a connection's task ended.
#[derive(Debug)]
pub(super) enum Ended {
    HostKey(Mismatch),
    Ssh(russh::Error),
}

impl From<russh::Error> for Ended {
    fn from(error: russh::Error) -> Self {
        Ended::Ssh(error)
    }
}

/// The client's side of one connection: it only checks the host key, at the
/// start and again at every key exchange.
#[derive(Debug)]
pub(super) struct HostKeyCheck {
    pub(super) expected: Expected,
    pub(super) shown: Arc<Mutex<Option<String>>>,
}

impl client::Handler for HostKeyCheck {
    type Error = Ended;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Ended> {
        let shown = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let expected = match &self.expected {
            Expected::Anything => {
                self.expected = Expected::Exactly(shown.clone());
                None
            }
            Expected::Exactly(fingerprint) if *fingerprint == shown => None,
            Expected::Exactly(fingerprint) => Some(Some(fingerprint.clone())),
            Expected::Nothing => Some(None),
        };
        if let Some(expected) = expected {
            return Err(Ended::HostKey(Mismatch { expected, shown }));
        }
        *self.shown.lock().unwrap_or_else(|e| e.into_inner()) = Some(shown);
        Ok(true)
    }
}
