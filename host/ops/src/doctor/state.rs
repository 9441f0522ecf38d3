//! The state directory: can a run keep its journal there?

use crate::checks::{Report, split_fix};
use crate::error::OpsErrorKind;
use crate::options::SessionOptions;
use crate::session;
use rustix::fs::{Access, access, statvfs};
use std::path::Path;
use std::sync::Arc;
use vdeploy_core::ids::TargetName;
use vdeploy_journal::Store;
use vdeploy_journal::sqlite::SqliteStore;

const DIRECTORY: &str = "state directory";
const SPACE: &str = "space for state";
/// A run writes some hundred KiB, a first one compiles the plugins too.
const LEAST_MB: u64 = 64;

/// Opens the store where there is one. Makes nothing.
pub(super) async fn check(
    options: &SessionOptions,
    report: &mut Report<'_>,
) -> Option<Arc<dyn Store>> {
    if let Some(store) = &options.store {
        report.pass(DIRECTORY, store.place());
        return Some(store.clone());
    }
    let dir = options.state_dir.as_path();
    let there = dir.ancestors().find(|dir| dir.exists());
    let Some(there) = there.or_else(|| dir.is_relative().then_some(Path::new("."))) else {
        report.fail(
            DIRECTORY,
            OpsErrorKind::Internal,
            format!("{} cannot be made", dir.display()),
            "name another place with --state",
        );
        return None;
    };
    if !there.is_dir() {
        report.fail(
            DIRECTORY,
            OpsErrorKind::Internal,
            format!("{}: {} is no directory", dir.display(), there.display()),
            "move that file away, or name another place with --state",
        );
        return None;
    }
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        report.fail(
            DIRECTORY,
            OpsErrorKind::Internal,
            format!("this user may not write in {}", there.display()),
            "mend its permissions, or name another place with --state",
        );
        return None;
    }
    space(there, report);
    let file = session::database(dir);
    if !file.exists() {
        report.pass(DIRECTORY, format!("{}, empty yet", dir.display()));
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
            report.pass(DIRECTORY, dir.display().to_string());
            Some(Arc::new(store))
        }
        Ok(Err(error)) => {
            let text = error.to_string();
            let (detail, fix) = split_fix(&text);
            report.fail(DIRECTORY, OpsErrorKind::Internal, detail, fix);
            None
        }
        Err(error) => {
            report.fail(DIRECTORY, OpsErrorKind::Internal, error.to_string(), "");
            None
        }
    }
}

fn space(dir: &Path, report: &mut Report<'_>) {
    let Ok(found) = statvfs(dir) else { return };
    let free = found.f_bavail.saturating_mul(found.f_frsize) / 1024 / 1024;
    // Some file systems do not count their inodes.
    let files = (found.f_files > 0).then_some(found.f_favail);
    let wrong = match files {
        _ if free == 0 => "no space is left".to_owned(),
        Some(0) => "no inodes are left".to_owned(),
        _ if free < LEAST_MB => {
            report.warn(
                SPACE,
                format!("{free} MiB are free on the disk of {}", dir.display()),
                "make room there, for example with `vdeploy runs prune --keep 50`, or name another \
                 place with --state",
            );
            return;
        }
        _ => return report.pass(SPACE, format!("{free} MiB free")),
    };
    report.fail(
        SPACE,
        OpsErrorKind::Internal,
        format!("{wrong} on the disk of {}", dir.display()),
        "make room there, or name another place with --state",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Check, Status};

    async fn looked_at(dir: &Path) -> Vec<Check> {
        let mut report = Report::new(|_: &Check| {});
        check(&SessionOptions::new("/", dir), &mut report).await;
        report.finish().checks
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
