//! The API's objects, as far as they are used. Unknown fields are ignored; fields
//! that some versions omit are optional.

use jiff::Timestamp;
use serde::Deserialize;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::ids::{SnapshotId, VmId};

/// As the API reports it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(from = "String")]
pub enum VmState {
    /// It may not answer SSH yet.
    Running,
    Booting,
    /// Suspended in memory.
    Paused,
    /// Suspended to disk.
    Sleeping,
    Dead,
    /// The answer had no state.
    #[default]
    Unknown,
    /// A state that vdeploy does not know: not running.
    Other(String),
}

impl From<String> for VmState {
    fn from(text: String) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "running" => VmState::Running,
            "booting" => VmState::Booting,
            "paused" => VmState::Paused,
            "sleeping" => VmState::Sleeping,
            "dead" => VmState::Dead,
            _ => VmState::Other(text),
        }
    }
}

impl std::fmt::Display for VmState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            VmState::Running => "running",
            VmState::Booting => "booting",
            VmState::Paused => "paused",
            VmState::Sleeping => "sleeping",
            VmState::Dead => "dead",
            VmState::Unknown => "unknown",
            VmState::Other(text) => text,
        })
    }
}

/// A state that can be requested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerState {
    Running,
    /// Keeps the memory.
    Paused,
}

/// A VM, from the list, its status or its metadata.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Vm {
    pub vm_id: VmId,
    #[serde(default)]
    pub state: VmState,
    /// The account that owns it; a list can hold VMs of several.
    #[serde(default)]
    pub owner_id: Option<String>,
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// In metadata: the commit that it was restored from.
    #[serde(default)]
    pub parent_commit_id: Option<SnapshotId>,
}

/// A commit: a stored state of a VM.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Commit {
    #[serde(alias = "id")]
    pub commit_id: SnapshotId,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// The VM that it was taken of.
    #[serde(default)]
    pub parent_vm_id: Option<VmId>,
}

/// A VM's login key.
#[derive(Clone, Debug)]
pub struct VmKey {
    /// OpenSSH private key.
    pub private_key: SecretValue,
    /// Internal to the platform; do not dial it.
    pub port: Option<u16>,
}

#[derive(Deserialize)]
pub(crate) struct CommitId {
    pub(crate) commit_id: SnapshotId,
}

#[derive(Deserialize)]
pub(crate) struct OneVm {
    pub(crate) vm_id: VmId,
}

/// `{vm_id}` in old versions, `{vms: [{vm_id}]}` in new ones.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Branched {
    Many { vms: Vec<OneVm> },
    One(OneVm),
}

#[derive(Deserialize)]
pub(crate) struct CommitPage {
    pub(crate) commits: Vec<Commit>,
    #[serde(default)]
    pub(crate) total: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct KeyAnswer {
    pub(crate) ssh_private_key: String,
    #[serde(default)]
    pub(crate) ssh_port: Option<u16>,
}
