//! A run of `vdeploy` that is looked at while it lasts.

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use vdeploy_tests::Ran;

/// A run that has not ended by then hangs.
const LONGEST: Duration = Duration::from_secs(600);

/// A run; it is ended when it is dropped.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    deadline: Instant,
}

impl Running {
    /// Starts it, with its output in files of this directory.
    pub fn start(mut command: Command, dir: &Path) -> Result<Self> {
        let (stdout, stderr) = (dir.join("stdout"), dir.join("stderr"));
        let child = command
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()?;
        Ok(Self {
            child,
            stdout,
            stderr,
            deadline: Instant::now() + LONGEST,
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)?;
        Ok(())
    }

    /// What it has printed so far, in whole lines.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.stdout).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text.get(..whole).unwrap_or_default().to_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<Ran>> {
        let Some(status) = self.child.try_wait()? else {
            if Instant::now() >= self.deadline {
                let errors = std::fs::read_to_string(&self.stderr).unwrap_or_default();
                bail!("it hangs:\n{}\n{errors}", self.said());
            }
            return Ok(None);
        };
        Ok(Some(Ran {
            code: status.code().unwrap_or(-1),
            stdout: self.said(),
            stderr: std::fs::read_to_string(&self.stderr)?,
        }))
    }

    /// Waits until this is so, or it has ended.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        while !is_so() {
            if let Some(ran) = self.ended()? {
                bail!("it ended before {what}:\n{}", ran.text());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits for its end and looks at the world meanwhile.
    pub fn follow(&mut self, mut look: impl FnMut(&Self) -> Result<()>) -> Result<Ran> {
        loop {
            // Before the look: what came last is seen too.
            let ended = self.ended()?;
            look(self)?;
            if let Some(ran) = ended {
                return Ok(ran);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
