//! Processes of this machine, read from `/proc`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every process.
fn all() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn read(pid: u32, what: &str) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/{what}")).ok()
}

fn status(pid: u32, key: &str) -> Option<u64> {
    let text = String::from_utf8(read(pid, "status")?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The most memory that it had so far, in KiB.
pub fn peak_kib(pid: u32) -> Option<u64> {
    status(pid, "VmHWM")
}

/// Its memory, in KiB.
pub fn memory_kib(pid: u32) -> Option<u64> {
    status(pid, "VmRSS")
}

/// How many threads it has.
pub fn threads(pid: u32) -> Option<u64> {
    status(pid, "Threads")
}

/// What its open files are.
pub fn open_files(pid: u32) -> Vec<PathBuf> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let files = files.into_iter().flatten().flatten();
    files
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .collect()
}

/// How many TCP ports it listens on.
pub fn listeners(pid: u32) -> usize {
    const LISTEN: &str = "0A";
    let mut sockets = BTreeSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        let text = read(pid, table).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(3) == Some(&LISTEN)
                && let Some(inode) = words.get(9)
            {
                sockets.insert(PathBuf::from(format!("socket:[{inode}]")));
            }
        }
    }
    let open: BTreeSet<PathBuf> = open_files(pid).into_iter().collect();
    open.intersection(&sockets).count()
}

/// The living processes of a VM of the local cloud: pid and command line.
pub fn of_vm(vm: &str) -> Vec<(u32, String)> {
    let mark = format!("VERS_VM_ID={vm}");
    let is_its = |pid: &u32| has_variable(*pid, &mark);
    let command = |pid: u32| {
        let words = read(pid, "cmdline").unwrap_or_default();
        let text = String::from_utf8_lossy(&words).replace('\0', " ");
        // One that waits to be reaped has none.
        (!text.is_empty()).then_some((pid, text))
    };
    all().filter(is_its).filter_map(command).collect()
}

/// Processes that run this program with this state directory.
pub fn running(program: &Path, state: &Path) -> Vec<u32> {
    let mark = format!("VDEPLOY_STATE={}", state.display());
    let is_it = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)
            && has_variable(*pid, &mark)
    };
    all().filter(is_it).collect()
}

fn has_variable(pid: u32, pair: &str) -> bool {
    let environment = read(pid, "environ").unwrap_or_default();
    let mut pairs = environment.split(|byte| *byte == 0);
    pairs.any(|found| found == pair.as_bytes())
}
