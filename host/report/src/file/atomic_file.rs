//! Atomic file writes: readers see the whole file or none.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Names tried for the temporary file. A taken name is left by a killed process
/// with this pid, or put there by somebody.
const TRIES: u32 = 16;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// The owner only (0600), also where another mode was: it has the output of
    /// commands.
    Owner,
    /// As the umask says, as for any report; an existing file keeps its mode.
    Others,
}

/// Writes a temporary file beside `path` and renames it, so a full disk does not
/// cost the old content. A pipe or device is written directly. A symbolic link is
/// replaced, not followed.
pub fn write(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return fs::write(path, text);
    }
    let there = path.symlink_metadata().ok().filter(|seen| seen.is_file());
    let (temporary, mut file) = create_temporary(path, readers)?;
    let kept = there.filter(|_| readers == Readers::Others);
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| match kept {
            Some(seen) => file.set_permissions(Permissions::from_mode(seen.permissions().mode())),
            None => Ok(()),
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// `create_new` neither writes nor follows what somebody has put there.
fn create_temporary(path: &Path, readers: Readers) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(match readers {
        Readers::Owner => 0o600,
        Readers::Others => 0o666,
    });
    let mut last = io::Error::from(ErrorKind::AlreadyExists);
    for n in 0..TRIES {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}-{n}.part", std::process::id()));
        match options.open(&temporary) {
            Ok(file) => return Ok((temporary.into(), file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_owner_only_file_replaces_one_that_others_could_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        write(&path, "1", Readers::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write(&path, "2", Readers::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
    }

    #[test]
    fn a_report_keeps_the_mode_of_an_existing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("junit.xml");
        fs::write(&path, "1").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        write(&path, "2", Readers::Others).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_the_way_is_neither_written_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "untouched").unwrap();
        let path = dir.path().join("out");
        let beside = dir
            .path()
            .join(format!("out.{}-0.part", std::process::id()));
        symlink(&other, &beside).unwrap();
        symlink(&other, &path).unwrap();
        write(&path, "new", Readers::Owner).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(!path.is_symlink());
    }
}
