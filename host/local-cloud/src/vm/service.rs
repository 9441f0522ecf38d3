//! The services of a VM: recorded by a snapshot, restarted by a restore.
//!
//! A service is a process that listens on the VM's app port. The list includes its environment,
//! which may hold secrets, as the platform's memory snapshot does: it is written with mode 0600 and
//! never printed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::vm::Vm;
use crate::vm::process::{self, ProcessId};
use crate::vm::rewrite_paths::PathRewrite;

/// How one service was started.
#[derive(Serialize, Deserialize)]
struct Service {
    program: PathBuf,
    args: Vec<OsString>,
    dir: PathBuf,
    env: Vec<(OsString, OsString)>,
    stdout: Option<PathBuf>,
    stderr: Option<PathBuf>,
}

/// The services of a VM and where they ran.
#[derive(Serialize, Deserialize)]
pub(crate) struct ServiceList {
    vm_id: Uuid,
    vm_dir: PathBuf,
    app_port: u16,
    services: Vec<Service>,
}

impl ServiceList {
    /// Records the processes that listen on the VM's app port now.
    pub(crate) fn of(vm: &Vm) -> ServiceList {
        let members = process::of_vm(vm);
        ServiceList {
            vm_id: vm.id,
            vm_dir: vm.dir.clone(),
            app_port: vm.app_port,
            services: process::listeners(vm.app_port, &members)
                .into_iter()
                .filter_map(Service::of)
                .collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.services.len()
    }

    /// Starts the services on a VM, detached. A service that cannot start is only logged: the VM
    /// exists anyway, as a VM of the platform does after its service crashed.
    pub(crate) fn start_on(&self, vm: &Vm) {
        let relocation = PathRewrite {
            old_dir: &self.vm_dir,
            new_dir: &vm.dir,
            old_port: self.app_port,
            new_port: vm.app_port,
            old_id: self.vm_id.to_string(),
            new_id: vm.id.to_string(),
        };
        for service in &self.services {
            if let Err(error) = service.start(&relocation) {
                let program = service.program.display();
                tracing::warn!(%error, %program, vm = %vm.id, "a service was not started again");
            }
        }
    }
}

impl Service {
    /// Reads how a process was started; `None` when it has ended.
    fn of(name: ProcessId) -> Option<Service> {
        let proc = PathBuf::from(format!("/proc/{}", name.pid));
        let args = split(&std::fs::read(proc.join("cmdline")).ok()?);
        let env = split(&std::fs::read(proc.join("environ")).ok()?)
            .into_iter()
            .filter_map(|pair| {
                let pair = pair.as_bytes();
                let at = pair.iter().position(|byte| *byte == b'=')?;
                let (key, value) = pair.split_at_checked(at)?;
                Some((os(key), os(value.get(1..)?)))
            })
            .collect();
        let service = Service {
            program: program(&proc, &args)?,
            dir: std::fs::read_link(proc.join("cwd")).ok()?,
            stdout: output_file(&proc.join("fd/1")),
            stderr: output_file(&proc.join("fd/2")),
            args,
            env,
        };
        name.lives().then_some(service)
    }

    fn start(&self, relocation: &PathRewrite<'_>) -> std::io::Result<()> {
        let moved = |path: &Path| PathBuf::from(relocation.apply(path.as_os_str()));
        let output = |path: &Option<PathBuf>| -> Stdio {
            path.as_deref()
                .and_then(|path| append_to(&moved(path)).ok())
                .map_or_else(Stdio::null, Stdio::from)
        };
        let mut command = tokio::process::Command::new(moved(&self.program));
        if let Some(first) = self.args.first() {
            command.arg0(relocation.apply(first));
        }
        command
            .args(self.args.iter().skip(1).map(|arg| relocation.apply(arg)))
            .current_dir(moved(&self.dir))
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, relocation.apply(v))))
            .env("VERS_VM_ID", &relocation.new_id)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output(&self.stdout))
            .stderr(output(&self.stderr));
        // Dropping the child leaves it running; the runtime reaps it when it ends.
        command.spawn().map(drop)
    }
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// Splits a list of NUL-terminated strings.
fn split(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(os).collect()
}

/// The program file; the first argument when the file was replaced on disk.
fn program(proc: &Path, args: &[OsString]) -> Option<PathBuf> {
    let exe = std::fs::read_link(proc.join("exe")).ok();
    exe.filter(|exe| exe.exists())
        .or_else(|| args.first().map(PathBuf::from))
}

/// The file that a descriptor writes to; `None` for pipes, sockets and terminals.
fn output_file(fd: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(fd).ok()?;
    let is_file = std::fs::metadata(fd).is_ok_and(|meta| meta.is_file());
    let deleted = OsStr::as_bytes(target.as_os_str()).ends_with(b" (deleted)");
    (is_file && !deleted).then_some(target)
}

fn append_to(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_empty_ones() {
        assert_eq!(split(b"node\0\0-e\0"), ["node", "", "-e"]);
    }

    #[test]
    fn only_files_are_noted_as_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let held = append_to(&file).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&held);
        assert_eq!(
            output_file(Path::new(&format!("/proc/self/fd/{fd}"))),
            Some(file.canonicalize().unwrap())
        );
        let null = File::open("/dev/null").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&null);
        assert_eq!(output_file(Path::new(&format!("/proc/self/fd/{fd}"))), None);
    }
}
