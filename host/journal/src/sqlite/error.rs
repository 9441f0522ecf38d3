//! SQLite errors as a person can act on them.

use crate::StoreError;
use rusqlite::ErrorCode;
use std::path::Path;

/// Says what SQLite says about the file at `path`, and what to do.
pub(super) fn database(path: &str, error: &rusqlite::Error) -> StoreError {
    let advice = error.sqlite_error_code().and_then(|code| match code {
        // How SQLite calls it depends on the file that wants to grow.
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if is_full(path) => {
            advice(ErrorCode::DiskFull)
        }
        code => advice(code),
    });
    StoreError::Database {
        path: path.to_owned(),
        message: match advice {
            Some(advice) => format!("{error}; {advice}"),
            None => error.to_string(),
        },
    }
}

/// Whether the disk of the file has no room left.
fn is_full(path: &str) -> bool {
    let dir = Path::new(path).parent();
    let found = dir.and_then(|dir| rustix::fs::statvfs(dir).ok());
    // Some file systems do not count their files.
    found.is_some_and(|disk| disk.f_bavail == 0 || (disk.f_files > 0 && disk.f_favail == 0))
}

/// What it holds makes no sense.
pub(super) fn damaged(path: &str) -> String {
    format!(
        "the state database {path} is damaged: bring a copy of it back, or move it and its `-wal` \
         and `-shm` files away to start with an empty one"
    )
}

/// A file operation beside SQLite failed.
pub(super) fn file(path: &str, what: &str, error: &std::io::Error) -> StoreError {
    StoreError::Database {
        path: path.to_owned(),
        message: format!("{what}: {error}; mend it or choose another place with `--state`"),
    }
}

/// Whether waiting may help.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn advice(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "another process has had it locked for too long: let it finish, or find it with `fuser`, then try again"
        }
        ErrorCode::DiskFull => "the disk is full: free some space, then try again",
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            "this user must be able to write the file and its directory: mend the permissions or choose another place with `--state`"
        }
        ErrorCode::DatabaseCorrupt => {
            "the file is damaged: move it and its `-wal` and `-shm` files away to start with an empty one (`sqlite3 FILE .recover` may save the runs)"
        }
        ErrorCode::NotADatabase => {
            "this is no state database of vdeploy: choose another place with `--state`, or move the file away"
        }
        ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed => {
            "the disk or file system fails: put the state on a local disk with `--state`"
        }
        _ => return None,
    })
}
