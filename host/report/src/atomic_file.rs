//! Files that a program reads when a command has ended: whole or not there.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Names that are tried for the file beside; others are in the way only when
/// somebody puts them there.
const TRIES: u32 = 16;

/// Who is to read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// The owner alone (0600), whatever was there: it has what commands printed.
    Owner,
    /// Whoever the umask lets, as with any report; a file that is there keeps its
    /// mode.
    Others,
}

/// Writes it beside and renames it, so that a reader never sees half a file and
/// a full disk costs nothing that was there. What is no file, such as a pipe, is
/// written to as it is. A link in its place is replaced, not followed.
pub fn write(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return fs::write(path, text);
    }
    let there = path.symlink_metadata().ok().filter(|seen| seen.is_file());
    let (beside, mut file) = make_beside(path, readers)?;
    let kept = there.filter(|_| readers == Readers::Others);
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| match kept {
            Some(seen) => file.set_permissions(Permissions::from_mode(seen.permissions().mode())),
            None => Ok(()),
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// A new file: what somebody else has put there is neither written nor followed.
fn make_beside(path: &Path, readers: Readers) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(match readers {
        Readers::Owner => 0o600,
        Readers::Others => 0o666,
    });
    let mut last = io::Error::from(ErrorKind::AlreadyExists);
    for n in 0..TRIES {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}-{n}.part", std::process::id()));
        match options.open(&beside) {
            Ok(file) => return Ok((beside.into(), file)),
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
    fn what_is_for_the_owner_is_so_over_a_file_that_was_not() {
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
    fn a_report_keeps_the_mode_of_the_file_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("junit.xml");
        fs::write(&path, "1").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        write(&path, "2", Readers::Others).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_lies_in_the_way_is_neither_written_nor_followed() {
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
