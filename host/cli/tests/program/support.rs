//! A place of a test's own, and the program in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A user who is neither the caller nor root.
pub const STRANGER: u32 = 65534;

/// How a call went.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Insists on the exit code and on words, on either stream.
    #[track_caller]
    pub fn expect(self, code: i32, words: &[&str]) -> Self {
        let text = format!("{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{text}");
        for word in words {
            assert!(text.contains(word), "no `{word}` in\n{text}");
        }
        self
    }
}

/// A home directory, a state directory that is not there yet, and room.
pub struct Place {
    top: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let top = TempDir::new().unwrap();
        fs::create_dir(top.path().join("home")).unwrap();
        Self { top }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// A directory with this mode.
    pub fn dir(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        set_mode(&path, mode);
        path
    }

    /// A file with this mode.
    pub fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, mode);
        path
    }

    /// `vdeploy ARGS` in `cwd`, without a terminal and with nothing of the
    /// caller's environment.
    pub fn command(&self, cwd: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vdeploy"));
        command
            .args(args)
            .current_dir(cwd)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("VDEPLOY_STATE", self.state());
        command
    }

    pub fn vdeploy(&self, cwd: &Path, args: &[&str]) -> Ran {
        ran(&mut self.command(cwd, args))
    }
}

pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// Makes it somebody else's.
pub fn give_away(path: &Path) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives files to another user, which needs root: run it as root"
    );
    chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
}
