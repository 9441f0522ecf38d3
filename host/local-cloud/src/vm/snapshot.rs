//! Commits on disk: `<root>/commits/<id>/{home,tmp,host_key,services.json}`.
//!
//! Copies between VM and commit. The caller suspends the VM meanwhile.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::LocalError;
use crate::state_file::{read_json, write_private};
use crate::vm::Vm;
use crate::vm::service::ServiceList;
use vdeploy_files::make_private_dir;

/// Extension of the directory of an unfinished commit.
const PARTIAL: &str = "partial";

/// A commit on disk.
pub(crate) struct Snapshot {
    dir: PathBuf,
}

impl Snapshot {
    pub(crate) fn at(root: &Path, id: Uuid) -> Snapshot {
        Snapshot {
            dir: root.join("commits").join(id.to_string()),
        }
    }

    /// Directories of unfinished commits.
    pub(crate) fn partial_ones(root: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(root.join("commits"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension() == Some(OsStr::new(PARTIAL)))
            .collect()
    }

    /// The host key that restored VMs get.
    pub(crate) fn host_key_file(&self) -> PathBuf {
        self.dir.join("host_key")
    }

    /// Copies a suspended VM. The commit appears whole or not at all.
    ///
    /// # Errors
    /// The copy failed; nothing is left behind.
    pub(crate) async fn take(&self, vm: &Arc<Vm>, path: &OsStr) -> Result<(), LocalError> {
        let partial = self.dir.with_extension(PARTIAL);
        let taken = self.fill(&partial, vm, path).await;
        if taken.is_err() {
            remove_dir(&partial).await?;
        }
        taken
    }

    async fn fill(&self, partial: &Path, vm: &Arc<Vm>, path: &OsStr) -> Result<(), LocalError> {
        remove_dir(partial).await?;
        make_private_dir(partial).map_err(LocalError::io("create", partial))?;
        let noted = Arc::clone(vm);
        let services = tokio::task::spawn_blocking(move || ServiceList::of(&noted))
            .await
            .map_err(|_| LocalError::Interrupted)?;
        write_private(&partial.join("services.json"), &services)?;
        copy(&[vm.home(), vm.tmp(), vm.host_key_file()], partial, path).await?;
        tokio::fs::rename(partial, &self.dir)
            .await
            .map_err(LocalError::io("create", &self.dir))?;
        tracing::debug!(vm = %vm.id, services = services.len(), "snapshot taken");
        Ok(())
    }

    /// Copies the files of the commit into a new VM.
    pub(crate) async fn fill_vm(&self, vm: &Vm, path: &OsStr) -> Result<(), LocalError> {
        let parts = [self.dir.join("home"), self.dir.join("tmp")];
        copy(&parts, &vm.dir, path).await
    }

    /// The services that ran when the commit was made.
    pub(crate) fn services(&self) -> Result<Option<ServiceList>, LocalError> {
        read_json(&self.dir.join("services.json"))
    }

    pub(crate) async fn remove(&self) -> Result<(), LocalError> {
        remove_dir(&self.dir).await
    }
}

/// Removes a directory and its contents, if it exists.
pub(crate) async fn remove_dir(dir: &Path) -> Result<(), LocalError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LocalError::io("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// Copies files and directories with all attributes; shares blocks where the file system can.
async fn copy(from: &[PathBuf], to: &Path, path: &OsStr) -> Result<(), LocalError> {
    let failed = |reason: String| LocalError::Copy {
        from: from.first().cloned().unwrap_or_default(),
        reason,
    };
    let output = tokio::process::Command::new("cp")
        .args(["-a", "--reflink=auto", "--"])
        .args(from)
        .arg(to)
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| failed(format!("cannot run cp: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(
        said.lines().last().unwrap_or("no message").to_owned(),
    ))
}
