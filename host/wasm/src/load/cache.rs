//! Compiled code on disk, so that a second start compiles nothing. It is native
//! code, so a file is used only with this user's mark: an HMAC over its name and
//! its contents. The key is a file of its own that only this user reads, beside
//! the runs and not beside the code, since a cache may come from elsewhere.
//!
//! A file without the right mark is ignored: the plugin is compiled, and the
//! file is written again. No error here fails a run.

use crate::load::native::Code;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The first bytes of a file: type and version of the format.
const MAGIC: &[u8; 8] = b"vdcode1\n";
/// Bytes of the mark that follows.
const MARK: usize = 32;
/// Bytes of the key.
const KEY: usize = 32;
/// Extension of a file.
const ENDING: &str = "cwasm";
/// Extension of a file that is being written.
const PART: &str = "part";
/// Bytes of all files together; the least recently used are removed.
const MAX_TOTAL: u64 = 256 << 20;
/// The time of last use is stored at most once in this time.
const USED_AGAIN: Duration = Duration::from_secs(3600);

/// A directory with code and the key of its marks.
pub struct CodeCache {
    dir: PathBuf,
    /// Has the key and nothing else.
    mac: Hmac<Sha256>,
}

impl CodeCache {
    /// Opens the cache in `dir`, with the key in the file `key`; creates what is
    /// missing. The caller decides whether the directories can be trusted. The
    /// error names what cannot be used.
    pub fn open(dir: &Path, key: &Path) -> Result<Self, String> {
        let failed = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        make_dir(dir).map_err(|e| failed(dir, e))?;
        if let Some(parent) = key.parent() {
            make_dir(parent).map_err(|e| failed(parent, e))?;
        }
        let found = match read_key(key) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_key(key).and_then(|()| read_key(key))
            }
            other => other,
        };
        let found = found.map_err(|e| failed(key, e))?;
        let mac = Hmac::new_from_slice(&found).map_err(|e| e.to_string())?;
        Ok(Self {
            dir: dir.to_owned(),
            mac,
        })
    }

    /// None without a file of this name that has the right mark.
    pub fn load(&self, name: &str) -> Option<Code> {
        let path = self.path(name);
        let mut bytes = Vec::new();
        let file = open_plain(&path).ok()?;
        let time = file.metadata().and_then(|meta| meta.modified());
        (&file).take(MAX_TOTAL).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (mark, code) = rest.split_at_checked(MARK)?;
        if self.mac(name, code).verify_slice(mark).is_err() {
            tracing::warn!(
                file = %path.display(),
                "compiled code without the right mark is compiled again"
            );
            return None;
        }
        let old = |time: SystemTime| time.elapsed().is_ok_and(|since| since > USED_AGAIN);
        if time.is_ok_and(old) {
            // On failure the file is only removed earlier.
            let _ = File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()));
        }
        let begin = MAGIC.len() + MARK;
        Some(Code::compiled(bytes.split_off(begin)))
    }

    /// Stores `code` under this name. On failure it is compiled again next time.
    pub fn save(&self, name: &str, code: &Code) {
        if let Err(error) = self.write(name, code) {
            tracing::warn!(dir = %self.dir.display(), %error, "compiled code is not kept");
        }
        self.clear_away();
    }

    fn write(&self, name: &str, code: &Code) -> std::io::Result<()> {
        let mark = self.mac(name, code.bytes()).finalize().into_bytes();
        let whole = [MAGIC.as_slice(), &mark, code.bytes()];
        write_whole(&self.path(name), &whole)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{ENDING}"))
    }

    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }

    /// Removes the least recently used files and abandoned partial files.
    fn clear_away(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return;
        };
        let mut kept = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(meta) = entry.metadata() else { continue };
            let time = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(ENDING) => kept.push((time, meta.len(), path)),
                Some(PART) if time.elapsed().is_ok_and(|since| since > USED_AGAIN) => {
                    remove(&path);
                }
                _ => {}
            }
        }
        kept.sort_by_key(|(time, ..)| std::cmp::Reverse(*time));
        let mut total = 0_u64;
        for (_, size, path) in kept {
            total = total.saturating_add(size);
            if total > MAX_TOTAL {
                remove(&path);
            }
        }
    }
}

/// Another process may have removed it.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Only for this user, with the directories above it.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Opens a file to read it; never a link, and never waits for a writer.
fn open_plain(path: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no regular file")),
    }
}

fn read_key(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = open_plain(path)?;
    let meta = file.metadata()?;
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        return Err(std::io::Error::other(
            "others own, read or write this key; remove it, and a new one is made",
        ));
    }
    let mut key = Zeroizing::new(Vec::with_capacity(KEY + 1));
    file.take(KEY as u64 + 1).read_to_end(&mut key)?;
    match key.len() == KEY {
        true => Ok(key),
        false => Err(std::io::Error::other(
            "this key is damaged; remove it, and a new one is made",
        )),
    }
}

/// Of two processes that create it at once, both use the key written last.
fn make_key(path: &Path) -> std::io::Result<()> {
    // Random but for 12 bits.
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    write_whole(path, &[one.as_bytes(), two.as_bytes()])
}

/// Writes atomically: readers see the whole file or none.
fn write_whole(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let part = path.with_extension(format!("{}.{PART}", Uuid::new_v4()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        parts.iter().try_for_each(|bytes| file.write_all(bytes))?;
        std::fs::rename(&part, path)
    })();
    written.inspect_err(|_| remove(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> Code {
        Code::compiled(bytes.to_vec())
    }

    #[test]
    fn what_was_kept_is_found_by_whoever_has_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, key) = (dir.path().join("cache"), dir.path().join("state/key"));
        CodeCache::open(&cache, &key)
            .unwrap()
            .save("a", &code(b"one"));
        let again = CodeCache::open(&cache, &key).unwrap();
        assert_eq!(again.load("a").unwrap().bytes(), b"one");
        assert!(again.load("b").is_none());
        let other = CodeCache::open(&cache, &dir.path().join("other")).unwrap();
        assert!(other.load("a").is_none());
    }

    #[test]
    fn a_changed_file_is_not_used_and_neither_is_one_under_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path(), &dir.path().join("key")).unwrap();
        cache.save("a", &code(b"one"));
        let path = cache.path("a");
        std::fs::copy(&path, cache.path("b")).unwrap();
        assert!(cache.load("b").is_none());
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(cache.load("a").is_none(), "byte {at}");
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(cache.load("a").is_none(), "{length} bytes");
        }
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(cache.path("c"), &path).unwrap();
        std::fs::write(cache.path("c"), &whole).unwrap();
        assert!(cache.load("a").is_none(), "a link");
        cache.save("a", &code(b"two"));
        assert_eq!(cache.load("a").unwrap().bytes(), b"two");
        assert_eq!(std::fs::read(cache.path("c")).unwrap(), whole);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        CodeCache::open(dir.path(), &key).unwrap();
        let mode = std::fs::metadata(&key).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = CodeCache::open(dir.path(), &key).err().unwrap();
        assert!(error.contains("remove it"), "{error}");
        std::fs::remove_file(&key).unwrap();
        write_whole(&key, &[b"short"]).unwrap();
        let error = CodeCache::open(dir.path(), &key).err().unwrap();
        assert!(error.contains("damaged"), "{error}");
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path(), &dir.path().join("key")).unwrap();
        let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(3600 * hours);
        for (name, size, hours) in [("old", 10, 3), ("huge", MAX_TOTAL, 2), ("new", 10, 1)] {
            let file = File::create(cache.path(name)).unwrap();
            file.set_len(size).unwrap();
            file.set_modified(hours_ago(hours)).unwrap();
        }
        cache.save("a", &code(b"one"));
        let there = |name: &str| cache.path(name).exists();
        assert!(there("a") && there("new") && !there("huge") && !there("old"));
    }
}
