//! The state directory: can a run keep its journal there?

use super::checkup::{Checkup, split_fix};
use crate::cli::exit::ExitCode;
use crate::ids::TargetName;
use crate::journal::Store as _;
use crate::journal::sqlite::SqliteStore;
use rustix::fs::{Access, access, statvfs};
use std::path::Path;
use std::sync::Arc;

const DIRECTORY: &str = "state directory";
const SPACE: &str = "space for state";
/// A run writes some hundred KiB, a first one compiles the plugins too.
const LEAST_MB: u64 = 64;

/// Looks, and opens the store where there is one. Makes nothing.
pub async fn look(dir: &Path, up: &mut Checkup) -> Option<Arc<SqliteStore>> {
    let there = dir.ancestors().find(|dir| dir.exists());
    let Some(there) = there.or_else(|| dir.is_relative().then_some(Path::new("."))) else {
        up.fail(
            DIRECTORY,
            ExitCode::Internal,
            format!("{} cannot be made", dir.display()),
            "name another place with --state",
        );
        return None;
    };
    if !there.is_dir() {
        up.fail(
            DIRECTORY,
            ExitCode::Internal,
            format!("{}: {} is no directory", dir.display(), there.display()),
            "move that file away, or name another place with --state",
        );
        return None;
    }
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        up.fail(
            DIRECTORY,
            ExitCode::Internal,
            format!("this user may not write in {}", there.display()),
            "mend its permissions, or name another place with --state",
        );
        return None;
    }
    space(there, up);
    let file = dir.join("vdeploy.db");
    if !file.exists() {
        up.pass(DIRECTORY, format!("{}, empty yet", dir.display()));
        return None;
    }
    // A lock is waited for.
    let opened = tokio::task::spawn_blocking(move || {
        let store = SqliteStore::open(&file)?;
        // Removes nothing, but takes the write lock as a run does.
        let written = store.set_fact(&TargetName::from("doctor"), "doctor", None);
        written.map(|()| store)
    });
    match opened.await {
        Ok(Ok(store)) => {
            up.pass(DIRECTORY, dir.display().to_string());
            Some(Arc::new(store))
        }
        Ok(Err(error)) => {
            let text = error.to_string();
            let (detail, fix) = split_fix(&text);
            up.fail(DIRECTORY, ExitCode::Internal, detail, fix);
            None
        }
        Err(error) => {
            up.fail(DIRECTORY, ExitCode::Internal, error.to_string(), "");
            None
        }
    }
}

fn space(dir: &Path, up: &mut Checkup) {
    let Ok(found) = statvfs(dir) else { return };
    let free = found.f_bavail.saturating_mul(found.f_frsize) / 1024 / 1024;
    // Some file systems do not count their inodes.
    let files = (found.f_files > 0).then_some(found.f_favail);
    let wrong = match files {
        _ if free == 0 => "no space is left".to_owned(),
        Some(0) => "no inodes are left".to_owned(),
        _ if free < LEAST_MB => {
            up.warn(
                SPACE,
                format!("{free} MiB are free on the disk of {}", dir.display()),
                "make room there, for example with `vdeploy runs prune --keep 50`, or name another \
                 place with --state",
            );
            return;
        }
        _ => return up.pass(SPACE, format!("{free} MiB free")),
    };
    up.fail(
        SPACE,
        ExitCode::Internal,
        format!("{wrong} on the disk of {}", dir.display()),
        "make room there, or name another place with --state",
    );
}

#[cfg(test)]
mod tests {
    use super::super::checkup::{Check, Status};
    use super::super::show::Show;
    use super::*;

    async fn looked_at(dir: &Path) -> Vec<Check> {
        let mut up = Checkup::new(Show::nowhere());
        look(dir, &mut up).await;
        up.checks().to_vec()
    }

    fn failed(checks: &[Check], says: &str) {
        let found = checks.iter().find(|check| check.status == Status::Failed);
        let found = found.unwrap_or_else(|| panic!("nothing failed: {checks:?}"));
        assert!(found.detail.contains(says), "{found:?}");
        assert!(found.fix.is_some(), "{found:?}");
    }

    #[tokio::test]
    async fn a_state_directory_that_is_not_there_is_well_and_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        let checks = looked_at(&state).await;
        assert!(checks.iter().all(|check| check.status == Status::Passed));
        assert!(!dir.path().join("a").exists());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        failed(&looked_at(&file.join("state")).await, "is no directory");
    }

    #[tokio::test]
    async fn a_database_of_something_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("vdeploy.db"),
            "no database at all, but long enough to be read as one",
        )
        .unwrap();
        failed(&looked_at(dir.path()).await, "not a database");
    }

    #[tokio::test]
    async fn a_locked_database_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vdeploy.db");
        drop(SqliteStore::open(&path).unwrap());
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        failed(&looked_at(dir.path()).await, "locked");
    }
}
