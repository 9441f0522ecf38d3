//! Publishes the addresses of a running cloud for other processes.
//!
//! Owns `<root>/endpoints.json` (exists while the cloud runs) and `<root>/cloud.lock` (held while
//! the cloud runs). The lock decides whether a cloud runs, so a stale file does no harm.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::LocalError;
use super::state_file::{read_json, write_private};

/// The addresses of a running cloud, and its API key: never print it whole.
#[derive(Serialize, Deserialize, Clone)]
pub struct Endpoints {
    /// Process id of the cloud.
    pub pid: u32,
    /// Root of the REST API without the `/api/v1` prefix, `http://127.0.0.1:PORT`.
    pub api_url: String,
    /// The bearer key of the REST API.
    pub api_key: String,
    /// Where SSH in TLS is served, `127.0.0.1:PORT`.
    pub gateway: String,
    /// The domain of the VMs' host names, `vm.localhost`.
    pub vm_domain: String,
    /// Port of the HTTP router on 127.0.0.1, plain and TLS.
    pub router_port: u16,
    /// PEM file of the authority that signed the certificate of gateway and router.
    pub ca_file: PathBuf,
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoints")
            .field("pid", &self.pid)
            .field("api_url", &self.api_url)
            .field("gateway", &self.gateway)
            .field("router_port", &self.router_port)
            .finish_non_exhaustive()
    }
}

/// The file with the endpoints of the cloud of `root` (mode 0600).
pub fn state_file(root: &Path) -> PathBuf {
    root.join("endpoints.json")
}

/// The endpoints of the cloud of `root`; `None` when no cloud runs there.
///
/// # Errors
/// The lock or the file exists but cannot be read.
pub fn read_endpoints(root: &Path) -> Result<Option<Endpoints>, LocalError> {
    let lock_path = lock_path(root);
    let lock = match File::open(&lock_path) {
        Ok(lock) => lock,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(LocalError::io("open", &lock_path)(e)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => read_json(&state_file(root)),
        Err(TryLockError::Error(e)) => Err(LocalError::io("lock", &lock_path)(e)),
    }
}

fn lock_path(root: &Path) -> PathBuf {
    root.join("cloud.lock")
}

/// The right to run a cloud on a root directory; released on drop.
pub(super) struct RootLock {
    _file: File,
}

impl RootLock {
    /// Takes the lock. A reader of the endpoints holds it for a moment, so this tries for a second.
    ///
    /// # Errors
    /// [`LocalError::AlreadyRunning`] when another cloud holds it.
    pub(super) async fn take(root: &Path) -> Result<RootLock, LocalError> {
        let path = lock_path(root);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(LocalError::io("open", &path))?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(RootLock { _file: file }),
                Err(TryLockError::Error(e)) => return Err(LocalError::io("lock", &path)(e)),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LocalError::AlreadyRunning {
                        root: root.to_path_buf(),
                    });
                }
            }
        }
    }
}

/// The written endpoints file; removed on drop.
pub(super) struct PublishedEndpoints {
    path: PathBuf,
}

impl PublishedEndpoints {
    pub(super) fn publish(root: &Path, endpoints: &Endpoints) -> Result<Self, LocalError> {
        let path = state_file(root);
        write_private(&path, endpoints)?;
        Ok(PublishedEndpoints { path })
    }
}

impl Drop for PublishedEndpoints {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the endpoints file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Endpoints {
        Endpoints {
            pid: std::process::id(),
            api_url: "http://127.0.0.1:1".into(),
            api_key: "very-secret".into(),
            gateway: "127.0.0.1:2".into(),
            vm_domain: super::super::VM_DOMAIN.into(),
            router_port: 3,
            ca_file: "/nowhere/ca.pem".into(),
        }
    }

    #[tokio::test]
    async fn endpoints_count_only_while_the_lock_is_held() {
        let root = tempfile::tempdir().unwrap();
        assert!(read_endpoints(root.path()).unwrap().is_none());

        let lock = RootLock::take(root.path()).await.unwrap();
        let published = PublishedEndpoints::publish(root.path(), &sample()).unwrap();
        let read = read_endpoints(root.path()).unwrap().unwrap();
        assert_eq!(read.api_key, "very-secret");

        std::mem::forget(published); // as a killed cloud leaves it
        drop(lock);
        assert!(state_file(root.path()).exists());
        assert!(read_endpoints(root.path()).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_second_cloud_on_the_same_root_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let _lock = RootLock::take(root.path()).await.unwrap();
        assert!(matches!(
            RootLock::take(root.path()).await,
            Err(LocalError::AlreadyRunning { .. })
        ));
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert!(!format!("{:?}", sample()).contains("very-secret"));
    }
}
