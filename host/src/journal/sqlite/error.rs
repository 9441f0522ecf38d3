//! SQLite errors as a person can act on them.

use crate::journal::StoreError;
use rusqlite::ErrorCode;

/// Says what SQLite says about the file at `path`, and what to do.
pub(super) fn database(path: &str, error: &rusqlite::Error) -> StoreError {
    let advice = error.sqlite_error_code().and_then(advice);
    StoreError::Database {
        path: path.to_owned(),
        message: match advice {
            Some(advice) => format!("{error}; {advice}"),
            None => error.to_string(),
        },
    }
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
