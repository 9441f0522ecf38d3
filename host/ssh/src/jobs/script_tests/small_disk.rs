//! A disk of a test's own, small enough to be filled: a tmpfs in a mount
//! namespace. Other users than root need user namespaces for it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Lies over a directory, for those who enter; gone with its owner.
pub(super) struct SmallDisk {
    holder: Child,
    root: bool,
}

impl SmallDisk {
    /// Over `dir`, with `options` of tmpfs.
    pub(super) fn over(dir: &Path, options: &str) -> Self {
        let id = Command::new("id").arg("-u").output().unwrap();
        let root = id.stdout == b"0\n";
        let mut unshare = Command::new("unshare");
        if !root {
            unshare.arg("--map-root-user");
        }
        let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && echo up && exec cat";
        let mut holder = unshare
            .args(["--mount", "sh", "-c", script, "sh", options])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("no `unshare` on this machine: run `cargo xtask setup`");
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(
            line, "up\n",
            "no small disk can be made here: run the tests as root, or allow user namespaces"
        );
        Self { holder, root }
    }

    /// A program for which the disk is there.
    pub(super) fn enter(&self, program: &str) -> Command {
        let mut nsenter = Command::new("nsenter");
        if !self.root {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter
            .arg(format!("--target={}", self.holder.id()))
            .args(["--mount", "--", program]);
        nsenter
    }

    /// Where it is seen from here.
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(dir.strip_prefix("/").unwrap())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}
