//! A disk of a test's own, small enough to be filled: a tmpfs in a mount
//! namespace. Other users than root need user namespaces for it.

use crate::binary::run;
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The file that takes the room.
const FILL: &str = "fill";

/// Lies over a directory, for those who enter; gone with its owner.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    root: bool,
    dir: PathBuf,
}

impl SmallDisk {
    /// Over `dir`, which is made where it is missing.
    pub fn over(dir: &Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let root = rustix::process::getuid().is_root();
        let mut unshare = Command::new("unshare");
        if !root {
            unshare.arg("--map-root-user");
        }
        let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && echo up && exec cat";
        let mut holder = unshare
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(format!("size={mebibytes}m,mode=0700"))
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("no `unshare` on this machine: run `cargo xtask setup`")?;
        let said = holder.stdout.take().context("no stdout")?;
        let disk = Self {
            holder,
            root,
            dir: dir.to_owned(),
        };
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(
            line == "up\n",
            "no small disk can be made here: run the tests as root, or allow user namespaces"
        );
        Ok(disk)
    }

    /// The same command, for which the disk is there.
    pub fn enter(&self, command: &Command) -> Command {
        let mut nsenter = Command::new("nsenter");
        if !self.root {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter
            .arg(format!("--target={}", self.holder.id()))
            .args(["--mount", "--", "sh", "-c"])
            .arg("cd \"$1\" && shift && exec \"$@\"")
            .arg("sh")
            .arg(command.get_current_dir().unwrap_or(Path::new("/")))
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .env_clear()
            .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        nsenter
    }

    /// Where a file of the disk is seen from here.
    pub fn seen(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.dir.strip_prefix("/").unwrap_or(&self.dir))
            .join(name)
    }

    /// Takes every block.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.seen(FILL))?;
        for size in [1 << 20, 4096, 1] {
            while file.write(&vec![b'x'; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives so many bytes of them back.
    pub fn leave(&self, bytes: u64) -> Result<()> {
        let file = File::options().write(true).open(self.seen(FILL))?;
        let len = file.metadata()?.len();
        Ok(file.set_len(len.saturating_sub(bytes))?)
    }

    /// Gives them back.
    pub fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.seen(FILL))?)
    }

    /// From now on nothing can be written there.
    pub fn read_only(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "remount,ro"])
            .arg(&self.dir)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        run(&mut self.enter(&mount))?;
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
