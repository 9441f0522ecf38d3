//! One VM: its directory, its keys, its environment.
//!
//! Layout: `<root>/vms/<id>/{home,tmp,ssh_key,host_key}`. The SSH key is new for every VM; the
//! host key is cloned by a restore, as the disk of a VM is.

pub(crate) mod process;
pub(crate) mod rewrite_paths;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod suspend;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::error::LocalError;
use crate::state_file::write_private_bytes;
use vdeploy_files::make_private_dir;

/// A VM on disk. Its state is in the records.
pub(crate) struct Vm {
    pub id: Uuid,
    /// Absolute, without symbolic links.
    pub dir: PathBuf,
    /// For the VM's service (`PORT`).
    pub app_port: u16,
    /// The login key of clients.
    pub ssh_key: PrivateKey,
    pub host_key: PrivateKey,
    /// Held while the VM as a whole changes: commit, pause, resume, delete.
    pub lifecycle: Mutex<()>,
    /// Turns true when the VM becomes unreachable: open connections end.
    pub cut: watch::Sender<bool>,
}

impl Vm {
    pub(crate) fn dir_of(root: &Path, id: Uuid) -> PathBuf {
        root.join("vms").join(id.to_string())
    }

    /// Makes the directory and the keys of a new VM; `host_key` is cloned if given.
    pub(crate) fn create(
        root: &Path,
        id: Uuid,
        app_port: u16,
        host_key: Option<&Path>,
    ) -> Result<Vm, LocalError> {
        let dir = Vm::dir_of(root, id);
        for sub in [dir.clone(), dir.join("home"), dir.join("tmp")] {
            make_private_dir(&sub).map_err(LocalError::io("create", &sub))?;
        }
        write_key(&ssh_key_file(&dir))?;
        let own_host_key = host_key_file(&dir);
        match host_key {
            Some(from) => {
                let bytes = std::fs::read(from).map_err(LocalError::io("read", from))?;
                write_private_bytes(&own_host_key, &bytes)?;
            }
            None => write_key(&own_host_key)?,
        }
        Vm::open(root, id, app_port)
    }

    /// Opens a VM that exists on disk.
    pub(crate) fn open(root: &Path, id: Uuid, app_port: u16) -> Result<Vm, LocalError> {
        let dir = Vm::dir_of(root, id);
        Ok(Vm {
            id,
            app_port,
            ssh_key: read_key(&ssh_key_file(&dir))?,
            host_key: read_key(&host_key_file(&dir))?,
            lifecycle: Mutex::new(()),
            cut: watch::Sender::new(false),
            dir,
        })
    }

    /// The home directory, where commands start.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The directory for temporary files.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    pub(crate) fn host_key_file(&self) -> PathBuf {
        host_key_file(&self.dir)
    }

    /// The services that stopped with the cloud and restart with it.
    pub(crate) fn parked_file(&self) -> PathBuf {
        self.dir.join("parked.json")
    }

    /// The whole environment of a session; only `PATH` comes from the cloud's own.
    pub(crate) fn env(&self, path: &OsStr) -> BTreeMap<OsString, OsString> {
        [
            ("HOME", self.home().into_os_string()),
            ("TMPDIR", self.tmp().into_os_string()),
            ("PORT", self.app_port.to_string().into()),
            ("VERS_VM_ID", self.id.to_string().into()),
            ("USER", "root".into()),
            ("LOGNAME", "root".into()),
            ("SHELL", "/bin/sh".into()),
            ("LANG", "C.UTF-8".into()),
            ("PATH", path.to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (OsString::from(name), value))
        .collect()
    }
}

fn ssh_key_file(dir: &Path) -> PathBuf {
    dir.join("ssh_key")
}

fn host_key_file(dir: &Path) -> PathBuf {
    dir.join("host_key")
}

fn write_key(path: &Path) -> Result<(), LocalError> {
    let error = |source| LocalError::SshKey {
        path: path.to_path_buf(),
        source,
    };
    let mut rng = russh::keys::key::safe_rng();
    let key = PrivateKey::random(&mut rng, Algorithm::Ed25519).map_err(error)?;
    let pem = key.to_openssh(LineEnding::LF).map_err(error)?;
    write_private_bytes(path, pem.as_bytes())
}

fn read_key(path: &Path) -> Result<PrivateKey, LocalError> {
    let pem = std::fs::read_to_string(path).map_err(LocalError::io("read", path))?;
    PrivateKey::from_openssh(pem).map_err(|source| LocalError::SshKey {
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_vm_has_the_same_host_key_and_another_ssh_key() {
        let root = tempfile::tempdir().unwrap();
        let old = Vm::create(root.path(), Uuid::new_v4(), 20_000, None).unwrap();
        let from = old.host_key_file();
        let new = Vm::create(root.path(), Uuid::new_v4(), 20_001, Some(&from)).unwrap();
        assert_eq!(old.host_key.public_key(), new.host_key.public_key());
        assert_ne!(old.ssh_key.public_key(), new.ssh_key.public_key());

        let again = Vm::open(root.path(), new.id, 20_001).unwrap();
        assert_eq!(again.ssh_key.public_key(), new.ssh_key.public_key());
    }

    #[test]
    fn a_session_sees_its_vm_and_nothing_of_the_operator() {
        let root = tempfile::tempdir().unwrap();
        let vm = Vm::create(root.path(), Uuid::new_v4(), 20_002, None).unwrap();
        let env = vm.env(OsStr::new("/bin"));
        let names: Vec<_> = env.keys().map(|k| k.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "HOME",
                "LANG",
                "LOGNAME",
                "PATH",
                "PORT",
                "SHELL",
                "TMPDIR",
                "USER",
                "VERS_VM_ID"
            ]
        );
        assert_eq!(env[OsStr::new("PORT")], "20002");
    }
}
