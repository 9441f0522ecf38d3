//! Finds the processes of a VM in `/proc` and signals exactly these.
//!
//! A process belongs to a VM when its environment says so (`VERS_VM_ID`), when it descends from
//! one that does, or when it listens on the VM's app port from a directory of the VM. A user's shell
//! in the VM's directory does not. A process is identified by its id and its start time, so that a
//! reused id is never signalled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::vm::Vm;

/// Identifies a process, even when its id is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessId {
    pub pid: i32,
    /// Start time in clock ticks since boot.
    started: u64,
}

/// From `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy)]
struct Stat {
    name: ProcessId,
    state: char,
    parent: i32,
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(pid, &text)
    }

    /// The command name may contain spaces and brackets, so fields count from its last bracket.
    fn parse(pid: i32, text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Stat {
            name: ProcessId { pid, started },
            state,
            parent,
        })
    }

    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

impl ProcessId {
    fn stat(self) -> Option<Stat> {
        Stat::read(self.pid).filter(|stat| stat.name == self && stat.lives())
    }

    /// Whether the process exists and is no zombie.
    pub(crate) fn lives(self) -> bool {
        self.stat().is_some()
    }

    /// Whether a signal has stopped it.
    pub(crate) fn is_stopped(self) -> bool {
        self.stat().is_some_and(|stat| stat.state == 'T')
    }

    /// Whether it runs, neither stopped nor ended.
    pub(crate) fn is_active(self) -> bool {
        self.stat().is_some_and(|stat| stat.state != 'T')
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid)
            && self.lives()
        {
            // It can only fail because the process ended just now.
            let _ = kill_process(pid, signal);
        }
    }
}

/// All living processes of a VM.
pub(crate) fn of_vm(vm: &Vm) -> BTreeSet<ProcessId> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let stats: BTreeMap<i32, Stat> = pids()
        .filter(|pid| *pid != own)
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .filter(|(_, stat)| stat.lives())
        .collect();
    let mark = format!("VERS_VM_ID={}", vm.id);
    let listening = listening_sockets(vm.app_port);
    let mut members: BTreeSet<i32> = stats
        .keys()
        .copied()
        .filter(|pid| {
            has_env(*pid, mark.as_bytes())
                || (works_below(*pid, &vm.dir) && holds_socket(*pid, &listening))
        })
        .collect();
    loop {
        let children: Vec<i32> = stats
            .values()
            .filter(|stat| members.contains(&stat.parent) && !members.contains(&stat.name.pid))
            .map(|stat| stat.name.pid)
            .collect();
        if children.is_empty() {
            break;
        }
        members.extend(children);
    }
    members
        .iter()
        .filter_map(|pid| stats.get(pid))
        .map(|stat| stat.name)
        .collect()
}

/// The processes among `members` that listen on the port; of a parent and its children that share
/// one socket, only the parent.
pub(crate) fn listeners(port: u16, members: &BTreeSet<ProcessId>) -> Vec<ProcessId> {
    let sockets = listening_sockets(port);
    let holders: Vec<Stat> = members
        .iter()
        .filter(|name| holds_socket(name.pid, &sockets))
        .filter_map(|name| name.stat())
        .collect();
    holders
        .iter()
        .filter(|stat| !holders.iter().any(|other| other.name.pid == stat.parent))
        .map(|stat| stat.name)
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn has_env(pid: i32, wanted: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|env| env.split(|byte| *byte == 0).any(|pair| pair == wanted))
}

fn works_below(pid: i32, dir: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir))
}

/// The sockets that listen on the port, as `/proc/<pid>/fd` names them.
fn listening_sockets(port: u16) -> BTreeSet<String> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| parse_listening(&table, port))
        .collect()
}

fn parse_listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let ending = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?;
            (state == LISTEN && local.ends_with(&ending)).then(|| format!("socket:[{inode}]"))
        })
        .collect()
}

fn holds_socket(pid: i32, sockets: &BTreeSet<String>) -> bool {
    !sockets.is_empty()
        && std::fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .any(|target| target.to_str().is_some_and(|name| sockets.contains(name)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 99887 1 2";
        let stat = Stat::parse(42, line).unwrap();
        assert_eq!(
            (stat.state, stat.parent, stat.name.started),
            ('S', 7, 99_887)
        );
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
           0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
           1: 0100007F:4E20 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
           2: 0100007F:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1\n";
        assert_eq!(parse_listening(table, 20_000), ["socket:[111]"]);
    }

    #[test]
    fn the_holder_of_a_listening_socket_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Stat::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(listeners(port, &[own.name].into()), [own.name]);
        drop(listener);
        assert!(listeners(port, &[own.name].into()).is_empty());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_signalled() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let real = Stat::read(pid).unwrap().name;
        let earlier = ProcessId {
            pid,
            started: real.started - 1,
        };
        earlier.signal(Signal::KILL);
        assert!(!earlier.lives() && real.lives());
        real.signal(Signal::KILL);
        child.wait().unwrap();
        assert!(!real.lives());
    }
}
