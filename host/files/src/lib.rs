//! Decides whether a file can be trusted: nobody else owns it or can replace it.
//! Callers decide what to refuse, and with which message.
//!
//! The caller (the effective user) and root are trusted. The owner of a parent
//! directory does not matter: its entries are judged by their own owners. But a
//! world-writable parent without the sticky bit is refused.

pub mod users;

use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use users::Users;

/// Symbolic links in one path; the kernel's limit.
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const BY_EVERYBODY: u32 = 0o002;
const BY_GROUP: u32 = 0o020;

/// Something that is not trusted, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untrusted {
    /// The checked path, or a parent of it.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Why,
    owner: String,
    mode: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// Somebody else owns it.
    Owner,
    /// Everybody can write it.
    Everybody,
    /// A group with other members can write it.
    Group(String),
    /// It is a symbolic link where none is allowed, or one of too many.
    Link,
    /// It is neither a file nor a directory.
    Kind,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, owner, mode) = (self.path.display(), &self.owner, self.mode & 0o7777);
        match &self.why {
            Why::Owner => write!(f, "{path} belongs to {owner} (mode {mode:04o})"),
            Why::Everybody => write!(
                f,
                "{path} can be written by everybody (mode {mode:04o}, owner {owner})"
            ),
            Why::Group(group) => write!(
                f,
                "{path} can be written by the group {group} (mode {mode:04o}, owner {owner})"
            ),
            Why::Link => write!(f, "{path} is a symbolic link (owner {owner})"),
            Why::Kind => write!(f, "{path} is no regular file (owner {owner})"),
        }
    }
}

impl Untrusted {
    /// The command that fixes it; `None` where that depends on the file.
    pub fn mend(&self) -> Option<String> {
        let path = self.path.to_string_lossy();
        let path = shlex::try_quote(&path).ok()?;
        match &self.why {
            Why::Everybody => Some(format!("chmod o-w {path}")),
            Why::Group(_) => Some(format!("chmod g-w {path}")),
            Why::Owner | Why::Link | Why::Kind => None,
        }
    }
}

/// The users that this process trusts.
#[derive(Clone, Debug)]
pub struct Judge {
    me: u32,
    trusted: Vec<u32>,
    users: Users,
}

impl Judge {
    /// The caller and root.
    pub fn of_process() -> Self {
        let me = rustix::process::geteuid().as_raw();
        Self {
            me,
            trusted: vec![me, 0],
            users: Users::of_machine(),
        }
    }

    /// This user is trusted as well.
    #[must_use]
    pub fn and(mut self, uid: u32) -> Self {
        self.trusted.push(uid);
        self
    }

    /// Checks a directory whose content is trusted, such as the state directory, and
    /// every link on its path. It may be missing: then nobody else may be able to
    /// create it.
    ///
    /// # Errors
    /// What is not trusted: the directory or a parent.
    pub fn private_dir(&self, dir: &Path) -> Result<(), Untrusted> {
        match self.walk(dir)? {
            Some((path, seen)) if seen.is_dir() => self.only_ours(&path, &seen),
            // A file in place of the directory is reported on use.
            _ => Ok(()),
        }
    }

    /// Checks a file in a private directory; it may be missing. Follows no link.
    ///
    /// # Errors
    /// It is not trusted.
    pub fn private_file(&self, file: &Path) -> Result<(), Untrusted> {
        match file.symlink_metadata() {
            Ok(seen) if seen.is_symlink() => Err(self.untrusted(file, &seen, Why::Link)),
            Ok(seen) => self.only_ours(file, &seen),
            Err(_) => Ok(()),
        }
    }

    /// Opens a file that was found by search, such as a project file in a parent. It,
    /// its directory and its link target must belong to a trusted user and not be
    /// world-writable. Returns it open, so that what was checked is what is read.
    ///
    /// # Errors
    /// From opening it; inside, that it is not trusted.
    pub fn open_found(&self, file: &Path) -> io::Result<Result<File, Untrusted>> {
        // Does not block on a pipe.
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let open = OpenOptions::new()
            .read(true)
            .custom_flags(nonblock)
            .open(file)?;
        let seen = open.metadata()?;
        if !seen.is_file() {
            return Ok(Err(self.untrusted(file, &seen, Why::Kind)));
        }
        let mut at = file.to_owned();
        for _ in 0..MAX_LINKS {
            let dir = match at.parent() {
                Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
                _ => PathBuf::from("."),
            };
            let above = dir.metadata()?;
            if let Err(found) = self.check_writers(&dir, &above) {
                return Ok(Err(found));
            }
            let link = at.symlink_metadata()?;
            if !link.is_symlink() {
                return Ok(self.check_writers(&at, &seen).map(|()| open));
            }
            if !self.trusts(&link) {
                return Ok(Err(self.untrusted(&at, &link, Why::Owner)));
            }
            at = dir.join(at.read_link()?);
        }
        Ok(Err(self.untrusted(file, &seen, Why::Link)))
    }

    /// Checks a file that a trusted file names and whose content is executed: a trusted
    /// user owns it, and not everybody can write or replace it or a parent. It may be
    /// missing.
    ///
    /// # Errors
    /// It is not trusted.
    pub fn named_file(&self, file: &Path) -> Result<(), Untrusted> {
        match self.walk(file)? {
            Some((path, seen)) => self.check_writers(&path, &seen),
            None => Ok(()),
        }
    }

    /// Follows `path` from the root, link by link. Returns the final path, `None` when
    /// nothing is there.
    fn walk(&self, path: &Path) -> Result<Option<(PathBuf, Metadata)>, Untrusted> {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut ahead: Vec<OsString> = steps(&whole);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let seen = next.symlink_metadata().ok();
            self.keeps(&at, seen.as_ref().map(|seen| (next.as_path(), seen)))?;
            let Some(seen) = seen else { return Ok(None) };
            if !seen.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if !self.trusts(&seen) {
                return Err(self.untrusted(&next, &seen, Why::Owner));
            }
            let target = match next.read_link() {
                Ok(target) if links <= MAX_LINKS => target,
                _ => return Err(self.untrusted(&next, &seen, Why::Link)),
            };
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(steps(&target));
        }
        Ok(at.metadata().ok().map(|seen| (at, seen)))
    }

    /// No untrusted user can create or replace entries of `dir`.
    fn keeps(&self, dir: &Path, entry: Option<(&Path, &Metadata)>) -> Result<(), Untrusted> {
        let Ok(seen) = dir.metadata() else {
            return Ok(());
        };
        if seen.mode() & BY_EVERYBODY == 0 || !seen.is_dir() {
            return Ok(());
        }
        if seen.mode() & STICKY == 0 {
            return Err(self.untrusted(dir, &seen, Why::Everybody));
        }
        match entry {
            Some((path, seen)) if !self.trusts(seen) => Err(self.untrusted(path, seen, Why::Owner)),
            _ => Ok(()),
        }
    }

    fn trusts(&self, seen: &Metadata) -> bool {
        self.trusted.contains(&seen.uid())
    }

    /// The owner is trusted, and it is not world-writable.
    fn check_writers(&self, path: &Path, seen: &Metadata) -> Result<(), Untrusted> {
        if !self.trusts(seen) {
            return Err(self.untrusted(path, seen, Why::Owner));
        }
        match seen.mode() & BY_EVERYBODY {
            0 => Ok(()),
            _ => Err(self.untrusted(path, seen, Why::Everybody)),
        }
    }

    /// The same, and no group with other members can write it.
    fn only_ours(&self, path: &Path, seen: &Metadata) -> Result<(), Untrusted> {
        self.check_writers(path, seen)?;
        // Root decides who is in root's group.
        let gid = seen.gid();
        if seen.mode() & BY_GROUP == 0 || gid == 0 || self.users.is_private_group(gid, self.me) {
            return Ok(());
        }
        let group = match self.users.group_name(gid) {
            Some(name) => format!("{name} (gid {gid})"),
            None => format!("gid {gid}"),
        };
        Err(self.untrusted(path, seen, Why::Group(group)))
    }

    fn untrusted(&self, path: &Path, seen: &Metadata, why: Why) -> Untrusted {
        let uid = seen.uid();
        Untrusted {
            path: path.to_owned(),
            why,
            owner: match self.users.name_of(uid) {
                Some(name) => format!("{name} (uid {uid})"),
                None => format!("uid {uid}"),
            },
            mode: seen.mode(),
        }
    }
}

/// The names of a path, the last one first; `..` stays, `.` is left out.
fn steps(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    names.reverse();
    names
}

/// Makes a directory and its missing parents, for the caller alone (0700). An
/// existing one is not changed.
///
/// # Errors
/// From the file system.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests;
