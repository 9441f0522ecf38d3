//! The processes of a machine, read from `/proc`.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// A process, by the id that it has outside of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

/// What a process was started with.
#[derive(Clone, Debug)]
pub struct Started {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory, as seen inside.
    pub directory: PathBuf,
    /// Where its standard output goes, as seen inside.
    pub output: PathBuf,
}

/// The only child of a process.
pub fn child_of(parent: u32) -> Result<u32> {
    all()
        .find(|id| fields(*id).is_some_and(|fields| fields.1 == parent))
        .with_context(|| format!("process {parent} has no child"))
}

/// Every process in the namespace of `init`, but for `init` and the `cat` that
/// it waits for.
pub fn of_namespace(init: u32) -> Vec<Process> {
    let Ok(namespace) = std::fs::read_link(format!("/proc/{init}/ns/pid")) else {
        return Vec::new();
    };
    all()
        .filter(|id| *id != init)
        .filter(|id| {
            std::fs::read_link(format!("/proc/{id}/ns/pid")).is_ok_and(|its| its == namespace)
        })
        .filter(|id| fields(*id).is_some_and(|(state, _)| state != 'Z'))
        .map(Process)
        .filter(|process| process.name() != "cat" || process.parent() != Some(init))
        .collect()
}

fn all() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// State and parent.
fn fields(id: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything, so what counts comes after its end.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?.chars().next()?;
    Some((state, words.next()?.parse().ok()?))
}

impl Process {
    fn proc(self, what: &str) -> PathBuf {
        Path::new("/proc").join(self.0.to_string()).join(what)
    }

    fn parent(self) -> Option<u32> {
        fields(self.0).map(|(_, parent)| parent)
    }

    /// Its short name.
    pub fn name(self) -> String {
        let name = std::fs::read_to_string(self.proc("comm")).unwrap_or_default();
        name.trim().to_owned()
    }

    pub(super) fn is_stopped(self) -> bool {
        fields(self.0).is_none_or(|(state, _)| matches!(state, 'T' | 'Z'))
    }

    /// Sends a signal; the process may have ended meanwhile.
    pub fn signal(self, signal: Signal) {
        if let Some(id) = Pid::from_raw(self.0.cast_signed()) {
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// Whether it listens on a TCP port.
    pub fn listens(self) -> bool {
        let sockets = self.listening_sockets();
        std::fs::read_dir(self.proc("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|link| sockets.contains(&link))
    }

    /// As `/proc/ID/fd` names them: `socket:[INODE]`.
    fn listening_sockets(self) -> BTreeSet<PathBuf> {
        const LISTEN: &str = "0A";
        let mut found = BTreeSet::new();
        for table in ["net/tcp", "net/tcp6"] {
            let text = std::fs::read_to_string(self.proc(table)).unwrap_or_default();
            for line in text.lines().skip(1) {
                let mut words = line.split_whitespace().skip(3);
                if words.next() == Some(LISTEN)
                    && let Some(inode) = words.nth(5)
                {
                    found.insert(PathBuf::from(format!("socket:[{inode}]")));
                }
            }
        }
        found
    }

    /// How it was started.
    pub fn started(self) -> Result<Started> {
        let words = |name: &str| -> Result<Vec<OsString>> {
            let bytes = std::fs::read(self.proc(name))?;
            let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
            let words = text.split(|byte| *byte == 0);
            Ok(words
                .map(|word| OsString::from_vec(word.to_vec()))
                .collect())
        };
        let environment = words("environ")?
            .into_iter()
            .filter_map(|pair| {
                let pair = pair.into_vec();
                let at = pair.iter().position(|byte| *byte == b'=')?;
                let (name, value) = pair.split_at_checked(at)?;
                Some((
                    OsString::from_vec(name.to_vec()),
                    OsString::from_vec(value.get(1..)?.to_vec()),
                ))
            })
            .collect();
        Ok(Started {
            argv: words("cmdline")?,
            environment,
            directory: std::fs::read_link(self.proc("cwd"))?,
            output: std::fs::read_link(self.proc("fd/1"))?,
        })
    }
}
