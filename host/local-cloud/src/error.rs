//! What can go wrong in the local cloud.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// An error of the local cloud. The text says what failed, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file or directory of the cloud could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// A verb: "read", "write", "create" ...
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Another cloud holds the same root directory.
    #[error("a local cloud already runs on {}: stop it, or choose another root directory", root.display())]
    AlreadyRunning { root: PathBuf },
    /// A listener could not be opened.
    #[error(
        "cannot listen on 127.0.0.1:{port}: {source}; choose another port, or 0 for any free one"
    )]
    Listen {
        /// The port that was asked for.
        port: u16,
        source: io::Error,
    },
    /// Every port of the range for VMs is taken.
    #[error(
        "no free port for a VM in {first}-{last}: delete VMs, or end programs that hold these ports"
    )]
    NoFreePort {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// Certificates could not be made or read.
    #[error("cannot set up the certificates in {}: {reason}; remove that directory to have new ones made", dir.display())]
    Certificate {
        /// Where the certificates are kept.
        dir: PathBuf,
        reason: String,
    },
    /// An SSH key could not be made or read.
    #[error("cannot use the ssh key {}: {source}", path.display())]
    SshKey {
        path: PathBuf,
        source: russh::keys::ssh_key::Error,
    },
    /// A state file does not parse.
    #[error("{} is damaged: {source}; restore it, or start with another root directory", path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// No VM has this id.
    #[error("no VM {0}")]
    NoSuchVm(Uuid),
    /// No commit has this id.
    #[error("no commit {0}")]
    NoSuchCommit(Uuid),
    /// The client chose a commit id that is taken.
    #[error("commit {0} exists already")]
    CommitExists(Uuid),
    /// VMs restored from the commit still live.
    #[error("commit still has {vms} active VM(s)")]
    CommitInUse { vms: usize },
    /// The files of a VM could not be copied.
    #[error("copying {} failed: {reason}", from.display())]
    Copy {
        from: PathBuf,
        /// The end of what `cp` said.
        reason: String,
    },
    /// Processes did not do what a signal asked for before the deadline.
    #[error("{count} process(es) of VM {vm} did not {what} in time")]
    Stuck {
        vm: Uuid,
        count: usize,
        /// "stop" or "end".
        what: &'static str,
    },
    /// The system has no `/proc`, which the cloud needs to find processes.
    #[error("the local cloud needs Linux with /proc")]
    Unsupported,
    /// A background task of the cloud was interrupted, for example because the runtime shuts down.
    #[error("a background task of the local cloud was interrupted")]
    Interrupted,
}

impl LocalError {
    /// Wraps an I/O error with what was tried and where.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LocalError {
        let path = path.to_path_buf();
        move |source| LocalError::Io {
            action,
            path,
            source,
        }
    }
}
