//! Whose files these are. What somebody else has put there, or can replace, is
//! not trusted. Owns the question only: what is refused because of the answer,
//! and in which words it ends, is for the caller.
//!
//! Trusted are the caller (the effective user) and root, who can do everything
//! anyway. A directory above belongs to whom it will: what lies in it is judged
//! by its own owner. Only one that everybody can write is refused there too,
//! unless its sticky bit keeps what lies in it in place.

pub mod users;

use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use users::Users;

/// Symbolic links on one way, as the kernel counts them.
const MAX_LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const BY_EVERYBODY: u32 = 0o002;
const BY_GROUP: u32 = 0o020;

/// Something that is not trusted, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untrusted {
    /// The path that was asked for, or one above it.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Why,
    owner: String,
    mode: u32,
}

/// Why something is not trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// Somebody else owns it.
    Owner,
    /// Everybody can write it.
    Everybody,
    /// A group that other people are in can write it.
    Group(String),
    /// It is a symbolic link where none is followed, or one of too many.
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
    /// The command that mends it; None where it depends on what it is.
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

/// Whom this process trusts.
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

    /// A directory whose content is believed, such as the state directory: it
    /// is trusted, and so is every link on the way to it. It may be missing:
    /// then it could be made there by nobody else.
    ///
    /// # Errors
    /// What is not trusted: the directory, or what lies above it.
    pub fn private_dir(&self, dir: &Path) -> Result<(), Untrusted> {
        match self.walk(dir)? {
            Some((path, seen)) if seen.is_dir() => self.only_ours(&path, &seen),
            // What is no directory is named when it is used.
            _ => Ok(()),
        }
    }

    /// A file in a private directory; it may be missing. No link is followed.
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

    /// A file that was found and not named, such as a project file above: it,
    /// its directory and what it links to belong to somebody trusted, and not
    /// everybody can write them. Gives it back open, for reading what was judged.
    ///
    /// # Errors
    /// From opening it; inside, that it is not trusted.
    pub fn open_found(&self, file: &Path) -> io::Result<Result<File, Untrusted>> {
        // A pipe is not waited for.
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
            if let Err(found) = self.by_nobody_else(&dir, &above) {
                return Ok(Err(found));
            }
            let link = at.symlink_metadata()?;
            if !link.is_symlink() {
                return Ok(self.by_nobody_else(&at, &seen).map(|()| open));
            }
            if !self.trusts(&link) {
                return Ok(Err(self.untrusted(&at, &link, Why::Owner)));
            }
            at = dir.join(at.read_link()?);
        }
        Ok(Err(self.untrusted(file, &seen, Why::Link)))
    }

    /// A file that a trusted file names, whose content is run: it belongs to
    /// somebody trusted, and neither it nor what lies above can be written or
    /// replaced by everybody. It may be missing.
    ///
    /// # Errors
    /// It is not trusted.
    pub fn named_file(&self, file: &Path) -> Result<(), Untrusted> {
        match self.walk(file)? {
            Some((path, seen)) => self.by_nobody_else(&path, &seen),
            None => Ok(()),
        }
    }

    /// Follows `path` from the root, link by link; gives where it leads, None
    /// when nothing is there.
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

    /// Nobody who is not trusted can replace what lies in `dir`, or put it there
    /// where nothing is.
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

    /// The owner is trusted, and not everybody can write it.
    fn by_nobody_else(&self, path: &Path, seen: &Metadata) -> Result<(), Untrusted> {
        if !self.trusts(seen) {
            return Err(self.untrusted(path, seen, Why::Owner));
        }
        match seen.mode() & BY_EVERYBODY {
            0 => Ok(()),
            _ => Err(self.untrusted(path, seen, Why::Everybody)),
        }
    }

    /// The same, and no group of others can write it either.
    fn only_ours(&self, path: &Path, seen: &Metadata) -> Result<(), Untrusted> {
        self.by_nobody_else(path, seen)?;
        // Who is in root's group was put there by root.
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

/// Makes a directory, and those above it that are missing, for the caller alone
/// (0700). One that is there stays as it is.
///
/// # Errors
/// As the file system says.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Opens a private file for reading: it is no link, it belongs to the caller or
/// to root, and nobody else can read or write it. What is read is what was
/// judged, whatever happens to the name meanwhile.
///
/// # Errors
/// From opening it; `PermissionDenied` with the reason when it is not private.
pub fn open_private(file: &Path) -> io::Result<File> {
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(nofollow)
        .open(file)?;
    let seen = open.metadata()?;
    let judge = Judge::of_process();
    let why = match judge.only_ours(file, &seen) {
        Err(found) => found.to_string(),
        Ok(()) if seen.mode() & 0o077 != 0 => format!(
            "{} can be read by others (mode {:04o})",
            file.display(),
            seen.mode() & 0o7777
        ),
        Ok(()) => return Ok(open),
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests;
