//! The state of the cloud on disk: `<root>/cloud.json`.
//!
//! Owns the format of the records, and atomic writes of private files. Knows nothing of processes or
//! sockets.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::LocalError;

/// The state of a VM as the API reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum VmState {
    /// Its files are being copied.
    Booting,
    /// Processes run and the VM is reachable.
    Running,
    /// Processes are suspended and SSH is refused.
    Paused,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VmRecord {
    pub created_at: Timestamp,
    pub state: VmState,
    /// The port that services of this VM listen on.
    pub app_port: u16,
    /// The commit that the VM was restored from.
    pub parent_commit_id: Option<Uuid>,
    /// The VM that this commit was made of.
    pub grandparent_vm_id: Option<Uuid>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CommitRecord {
    pub name: String,
    pub description: Option<String>,
    pub created_at: Timestamp,
    /// The VM that the commit was made of.
    pub parent_vm_id: Uuid,
    /// The commit that this VM came from.
    pub grandparent_commit_id: Option<Uuid>,
}

/// The ports of the first start; 0 before it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct ListenPorts {
    pub api: u16,
    pub gateway: u16,
    pub router: u16,
}

/// The content of `cloud.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Records {
    pub owner_id: Uuid,
    pub ports: ListenPorts,
    pub vms: BTreeMap<Uuid, VmRecord>,
    pub commits: BTreeMap<Uuid, CommitRecord>,
}

impl Records {
    /// Reads the records of `root`, or makes the first ones.
    ///
    /// # Errors
    /// The file exists but cannot be read or parsed.
    pub(super) fn load(root: &Path) -> Result<Records, LocalError> {
        Ok(read_json(&records_path(root))?.unwrap_or_else(|| Records {
            owner_id: Uuid::new_v4(),
            ports: ListenPorts::default(),
            vms: BTreeMap::new(),
            commits: BTreeMap::new(),
        }))
    }

    /// Writes the records of `root`, whole or not at all.
    pub(super) fn save(&self, root: &Path) -> Result<(), LocalError> {
        write_private(&records_path(root), self)
    }
}

fn records_path(root: &Path) -> PathBuf {
    root.join("cloud.json")
}

/// Reads a JSON file; `None` when there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LocalError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(LocalError::io("read", path)(e)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| LocalError::Damaged {
            path: path.to_path_buf(),
            source,
        })
}

/// Writes a value as JSON for the owner only (mode 0600), whole or not at all.
pub(super) fn write_private<T: Serialize>(path: &Path, value: &T) -> Result<(), LocalError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|source| LocalError::Damaged {
        path: path.to_path_buf(),
        source,
    })?;
    write_private_bytes(path, &bytes)
}

/// Writes bytes for the owner only (mode 0600), whole or not at all.
pub(super) fn write_private_bytes(path: &Path, bytes: &[u8]) -> Result<(), LocalError> {
    let partial = path.with_extension("partial");
    let written = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&partial, path));
    written.map_err(LocalError::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn records_survive_a_restart_and_are_private() {
        let root = tempfile::tempdir().unwrap();
        let mut records = Records::load(root.path()).unwrap();
        let id = Uuid::new_v4();
        records.vms.insert(
            id,
            VmRecord {
                created_at: Timestamp::now(),
                state: VmState::Paused,
                app_port: 21_000,
                parent_commit_id: None,
                grandparent_vm_id: None,
                labels: BTreeMap::new(),
            },
        );
        records.save(root.path()).unwrap();

        let read = Records::load(root.path()).unwrap();
        assert_eq!(read.owner_id, records.owner_id);
        assert_eq!(read.vms[&id].state, VmState::Paused);
        let mode = std::fs::metadata(records_path(root.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(records_path(root.path()), "{").unwrap();
        let error = Records::load(root.path()).unwrap_err().to_string();
        assert!(error.contains("cloud.json"), "{error}");
        assert_eq!(std::fs::read(records_path(root.path())).unwrap(), b"{");
    }
}
