//! Runs of `vdeploy` that are under way: begun, as far as a place of their event
//! stream, and from then on left to themselves, signalled, waited for.

use crate::e2e::cut::kind;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use vdeploy_tests::Ran;
use vdeploy_tests::base::{text, wait_for};
use vdeploy_tests::binary::run;

/// A run that has begun. It does not outlive its test.
pub struct UnderWay {
    child: Child,
    /// Its id.
    pub run: String,
    stdout: Heard,
    stderr: Heard,
}

impl UnderWay {
    /// Starts it (with `--json`) and returns when it has printed the first event
    /// for which `is_it_now` holds. What it prints later is read all the same.
    pub fn until(
        mut command: Command,
        mut is_it_now: impl FnMut(&Value) -> bool,
    ) -> Result<UnderWay> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let stderr = Heard::from(child.stderr.take().context("no stderr")?, String::new());
        let (mut seen, mut id) = (String::new(), None);
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                child.wait()?;
                bail!("its time never came:\n{seen}\n{}", stderr.text());
            }
            let event: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            if kind(&event) == "run-started" {
                id = Some(text(&event, "run")?);
            }
            seen.push_str(&line);
            if is_it_now(&event) {
                break;
            }
        }
        Ok(Self {
            child,
            run: id.context("no run began")?,
            stdout: Heard::from(stdout, seen),
            stderr,
        })
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-s", signal, &pid]))?;
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did within this time.
    pub fn ended_within(&mut self, time: Duration) -> Result<Option<ExitStatus>> {
        let child = &mut self.child;
        let ended = wait_for("the end", time, || child.try_wait().transpose());
        ended.ok().transpose().map_err(Into::into)
    }

    /// Waits until it has said this on standard error.
    pub fn until_it_says(&self, words: &str) -> Result<()> {
        let limit = Duration::from_secs(60);
        wait_for(words, limit, || {
            self.stderr.text().contains(words).then_some(())
        })
    }

    /// Waits for its end; all that it has printed.
    pub fn end(&mut self) -> Result<Ran> {
        let stdout = self.stdout.all()?;
        let stderr = self.stderr.all()?;
        let code = self.child.wait()?.code().unwrap_or(-1);
        Ok(Ran {
            code,
            stdout,
            stderr,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Also one that is stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, read as it comes.
struct Heard {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<std::io::Result<()>>>,
}

impl Heard {
    fn from(mut pipe: impl Read + Send + 'static, before: String) -> Self {
        let text = Arc::new(Mutex::new(before));
        let into = text.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = pipe.read(&mut bytes)?;
                let Some(new) = bytes.get(..count).filter(|new| !new.is_empty()) else {
                    return Ok(());
                };
                let new = String::from_utf8_lossy(new);
                into.lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .push_str(&new);
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn all(&mut self) -> Result<String> {
        if let Some(reader) = self.reader.take() {
            let read = reader.join();
            ensure!(matches!(read, Ok(Ok(()))), "its output could not be read");
        }
        Ok(self.text())
    }
}
