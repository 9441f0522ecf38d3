//! What happens on a VM, told by the VM itself and not by vdeploy: the SSH
//! commands that it was given, the programs that were started on it, checkouts
//! of git. And a hand on it: a command can be stopped before it begins and
//! before its end is told.

use super::machine::BUILDS;
use super::vm::Vm;
use crate::base::APP;
use crate::binary::find;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where a watched VM keeps what it tells, as seen inside.
const INSIDE: &str = "/run/watch";

/// What is counted: a name, and what the line in the log begins with or holds.
const COUNTED: [(&str, &str, &str); 7] = [
    ("checkouts", "checkout ", ""),
    ("npm ci", "node ", "npm ci"),
    ("npm run build", "node ", "npm run build"),
    ("tsc", "node ", "/tsc"),
    ("service starts", "node ", "dist/server.js"),
    ("directories archived", "tar ", " -cf - ."),
    ("directories restored", "tar ", " -xpf -"),
];

/// Programs whose starts are told.
const PROGRAMS: [&str; 2] = ["node", "tar"];

/// How often each change happened.
pub type Counts = BTreeMap<&'static str, usize>;

/// An SSH command that came to a VM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Came {
    /// Its process.
    pub id: u32,
    /// What is the same when it is asked for again.
    pub what: String,
    /// As it was sent.
    pub text: String,
}

impl Came {
    /// Whether it is a change, or asks for one.
    pub fn is_job(&self) -> bool {
        self.what.starts_with(JOB)
    }
}

/// What a change is called, with its number.
const JOB: &str = "job ";

/// What a VM told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// A command came.
    Came(Came),
    /// The command with this process ended; its end is not told yet.
    Ended(u32),
}

impl Vm {
    /// From now on it tells. Commands are stopped from the first one on if
    /// `stop` says so.
    pub fn watch(&self, stop: bool) -> Result<()> {
        let dir = self.watch_dir();
        std::fs::create_dir_all(dir.join("bin"))?;
        std::fs::write(dir.join("log"), "")?;
        std::fs::write(dir.join("each.sh"), include_str!("each.sh"))?;
        if stop {
            std::fs::write(dir.join("stop"), "")?;
        }
        let note = |word: &str| format!("#!/bin/sh\necho \"{word} $$ $*\" >>{INSIDE}/log\n");
        for name in PROGRAMS {
            let own = match name {
                "node" => Path::new(BUILDS).join("bin/node"),
                _ => find(name)?,
            };
            let text = format!("{}exec '{}' \"$@\"\n", note(name), own.display());
            program(&dir.join("bin").join(name), &text)?;
        }
        let hook = self
            .machine
            .path(&format!("/root/{APP}/.git/hooks/post-checkout"));
        program(&hook, &note("checkout"))?;
        let keys = self.machine.path("/etc/ssh/authorized_keys");
        let key = std::fs::read_to_string(&keys)?;
        let each = format!("command=\"exec sh {INSIDE}/each.sh\" {key}");
        std::fs::write(keys, each)?;
        Ok(())
    }

    fn watch_dir(&self) -> PathBuf {
        self.machine.path(INSIDE)
    }

    /// What it told since `seen`, which moves on.
    pub fn told(&self, seen: &mut usize) -> Vec<Told> {
        let log = std::fs::read_to_string(self.watch_dir().join("log")).unwrap_or_default();
        let whole = log.rfind('\n').map_or(0, |end| end + 1);
        let news = log.get(*seen..whole).unwrap_or_default();
        *seen = whole.max(*seen);
        news.lines().filter_map(|line| self.one(line)).collect()
    }

    fn one(&self, line: &str) -> Option<Told> {
        let (word, rest) = line.split_once(' ')?;
        let id = rest.split(' ').next()?.parse().ok()?;
        match word {
            "came" => {
                let file = self.watch_dir().join(format!("{id}.line"));
                let text = std::fs::read_to_string(file).unwrap_or_default();
                let what = what(&text);
                Some(Told::Came(Came { id, what, text }))
            }
            "ended" => Some(Told::Ended(id)),
            _ => None,
        }
    }

    /// Lets a stopped command begin, and nothing that it prints be heard before
    /// its end is told.
    pub fn let_begin_unheard(&self, id: u32) -> Result<()> {
        self.word(id, "hold")?;
        self.word(id, "begin")
    }

    /// Lets a stopped command begin.
    pub fn let_begin(&self, id: u32) -> Result<()> {
        self.word(id, "begin")
    }

    /// Lets the end of a stopped command be told.
    pub fn let_end(&self, id: u32) -> Result<()> {
        self.word(id, "end")
    }

    fn word(&self, id: u32, word: &str) -> Result<()> {
        let file = self.watch_dir().join(format!("{id}.{word}"));
        std::fs::write(file, "").context("a word to a stopped command")
    }

    /// No command is stopped any more, and those that were go on.
    pub fn stop_nothing(&self) -> Result<()> {
        drop(std::fs::remove_file(self.watch_dir().join("stop")));
        let mut seen = 0;
        for told in self.told(&mut seen) {
            if let Told::Came(came) = told {
                self.let_begin(came.id)?;
                self.let_end(came.id)?;
            }
        }
        Ok(())
    }

    /// Adds how often each change happened on it.
    pub fn count(&self, counts: &mut Counts) {
        let log = std::fs::read_to_string(self.watch_dir().join("log")).unwrap_or_default();
        for (name, begins, holds) in COUNTED {
            let lines = log.lines();
            let here = lines.filter(|line| line.starts_with(begins) && line.contains(holds));
            *counts.entry(name).or_default() += here.count();
        }
    }
}

/// A job by its number; another command by all of its text.
fn what(line: &str) -> String {
    for mode in ["start", "attach", "stop"] {
        if let Some((_, rest)) = line.rsplit_once(&format!("' sh {mode} ")) {
            let job: Vec<&str> = rest.split(' ').take(2).collect();
            return format!("{JOB}{}", job.join("/"));
        }
    }
    line.to_owned()
}

fn program(path: &Path, text: &str) -> Result<()> {
    std::fs::create_dir_all(path.parent().context("no parent")?)?;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
