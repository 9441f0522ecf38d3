//! A systemd of the tests' own: the real program as the first process of new
//! namespaces, with our units and no others, on a cgroup of its own. It sees
//! the machine's files and network, so what runs under it is reached as ever.
//!
//! Needs root and the right to make namespaces. It must never read the
//! machine's own units: one of them empties /tmp.

use crate::base::wait_for;
use crate::binary::run;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Goes into the cgroup $2 and makes the namespaces; $1 is our directory.
const BOOT: &str = r#"
echo $$ >"$2/cgroup.procs" || exit 1
exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc --mount-proc sh "$1/inner.sh" "$1"
"#;

/// Hides what is the machine's and becomes systemd; $1 is our directory.
const INNER: &str = r#"
set -e
mount --make-rprivate /
resolv=$(readlink -f /etc/resolv.conf || true)
[ -z "$resolv" ] || cat "$resolv" >"$1/resolv.conf" 2>/dev/null || true
mount -t tmpfs tmpfs /run
case $resolv in /run/*) mkdir -p "${resolv%/*}" && cp "$1/resolv.conf" "$resolv" ;; esac
mount -t tmpfs tmpfs /etc/systemd
[ ! -d /var/log/journal ] || mount -t tmpfs tmpfs /var/log/journal
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
exec env -i "PATH=$PATH" container=vdeploy-tests "SYSTEMD_UNIT_PATH=$1/units" \
    SYSTEMD_GENERATOR_PATH=/nonexistent SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nonexistent \
    SYSTEMD_LOG_TARGET=journal /lib/systemd/systemd --system --unit=boot.target --show-status=no
"#;

/// Runs a program in the namespaces of process PID, in the same directory.
const ENTER: &str = r#"#!/bin/sh
here=$(pwd)
exec nsenter --target PID --mount --pid --cgroup --uts --ipc \
    sh -c 'cd "$0" && exec "$@"' "$here" "$@"
"#;

const PLAIN: &str = "[Unit]\nDefaultDependencies=no\n";
const BOOT_TARGET: &str = "[Unit]\nDefaultDependencies=no\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n";
const JOURNAL_SOCKET: &str = "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/systemd/journal/stdout\nListenDatagram=/run/systemd/journal/socket\nSocketMode=0666\nPassCredentials=yes\nService=systemd-journald.service\n";
const JOURNAL: &str = "[Unit]\nDefaultDependencies=no\nRequires=systemd-journald.socket\nAfter=systemd-journald.socket\n[Service]\nType=notify\nExecStart=/lib/systemd/systemd-journald\nSockets=systemd-journald.socket\nStandardOutput=null\nRuntimeDirectory=systemd/journal\nRuntimeDirectoryPreserve=yes\n";

/// A running systemd. Dropping it ends all that it has started.
#[derive(Debug)]
pub struct Systemd {
    dir: TempDir,
    cgroup: PathBuf,
    unshare: Child,
}

impl Systemd {
    /// Why this machine cannot have one, if so.
    pub fn lack() -> Option<String> {
        if !Path::new("/lib/systemd/systemd").exists() {
            return Some("systemd is not installed: run `cargo xtask setup`".to_owned());
        }
        let may = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--cgroup",
                "--mount-proc",
                "true",
            ])
            .output();
        match may {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!(
                "this user may not make namespaces, run as root: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Some(format!("there is no program `unshare`: {error}")),
        }
    }

    /// Starts it and waits until it is up.
    pub fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let units = dir.path().join("units");
        fs::create_dir(&units)?;
        for target in ["sysinit", "basic", "shutdown", "multi-user"] {
            fs::write(units.join(format!("{target}.target")), PLAIN)?;
        }
        fs::write(units.join("boot.target"), BOOT_TARGET)?;
        fs::write(units.join("systemd-journald.socket"), JOURNAL_SOCKET)?;
        fs::write(units.join("systemd-journald.service"), JOURNAL)?;
        fs::write(dir.path().join("boot.sh"), BOOT)?;
        fs::write(dir.path().join("inner.sh"), INNER)?;
        let name = dir.path().file_name().unwrap_or_default().to_string_lossy();
        let cgroup = own_cgroup()?.join(format!("vdeploy-tests-{}", name.trim_start_matches('.')));
        fs::create_dir_all(&cgroup).context("no cgroup can be made")?;
        let output = fs::File::create(dir.path().join("output"))?;
        let unshare = Command::new("sh")
            .arg(dir.path().join("boot.sh"))
            .arg(dir.path())
            .arg(&cgroup)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut systemd = Self {
            dir,
            cgroup,
            unshare,
        };
        systemd.wait()?;
        Ok(systemd)
    }

    fn wait(&mut self) -> Result<()> {
        let parent = self.unshare.id();
        let limit = Duration::from_secs(30);
        let first = wait_for("the first process of systemd", limit, || child_of(parent))?;
        let enter = self.enter();
        fs::write(&enter, ENTER.replace("PID", &first.to_string()))?;
        fs::set_permissions(&enter, fs::Permissions::from_mode(0o755))?;
        let up = wait_for("systemd", limit, || {
            let state = self.systemctl(&["is-system-running"]).ok()?;
            (state.trim() == "running").then_some(())
        });
        let output = fs::read_to_string(self.dir.path().join("output")).unwrap_or_default();
        up.with_context(|| format!("it said:\n{output}"))
    }

    /// The program that runs another one in the namespaces.
    pub fn enter(&self) -> PathBuf {
        self.dir.path().join("enter")
    }

    /// A program that will run in the namespaces.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.enter());
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// `systemctl ARGS`; its output.
    pub fn systemctl(&self, args: &[&str]) -> Result<String> {
        let output = run(self.command("systemctl").args(args))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let value = self.systemctl(&["show", "--value", "-p", name, unit])?;
        Ok(value.trim().to_owned())
    }

    /// Writes a unit and lets systemd read it.
    pub fn write_unit(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.dir.path().join("units").join(name), text)?;
        self.systemctl(&["daemon-reload"]).map(drop)
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The kernel ends every process of the namespace with its first one.
        drop(self.unshare.kill());
        drop(self.unshare.wait());
        let removed = wait_for("the end of the cgroup", Duration::from_secs(10), || {
            remove_cgroup(&self.cgroup).ok()
        });
        if let Err(error) = removed {
            eprintln!("{} was not removed: {error:#}", self.cgroup.display());
        }
    }
}

/// The cgroup of this process in the unified hierarchy, as a directory.
fn own_cgroup() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let at = words.next()?;
        (words.next() == Some("cgroup2")).then(|| at.to_owned())
    });
    let Some(mount) = mount else {
        bail!("this machine has no cgroup2");
    };
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .context("this process is in no cgroup2")?;
    Ok(Path::new(&mount).join(path))
}

/// Removes the cgroup and those below it.
fn remove_cgroup(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_cgroup(&path)?;
        }
    }
    fs::remove_dir(dir)?;
    Ok(())
}

fn child_of(parent: u32) -> Option<u32> {
    let parent = parent.to_string();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let found = fields.split(' ').nth(1)? == parent;
        found.then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

/// Insists that a unit's process is this one.
pub fn ensure_main(systemd: &Systemd, unit: &str, pid: u64) -> Result<()> {
    let main = systemd.property(unit, "MainPID")?;
    ensure!(main == pid.to_string(), "{unit} has {main}, not {pid}");
    Ok(())
}
