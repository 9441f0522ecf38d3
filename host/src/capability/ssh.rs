//! Commands on the run's target.
//!
//! A plugin can run the programs that its grant's patterns cover, on this
//! run's target only. It can never choose the machine, the user or the key.
//!
//! Scope grammar, one string a grant, words split at white space:
//!
//! | word | matches |
//! |---|---|
//! | text, with `*` inside | one argument (`*` any characters) |
//! | `*` | exactly one argument |
//! | `**` (last word) | any number of further arguments |
//!
//! The first word is the program. `probe:` before the pattern allows probes
//! only: `probe:git **`.
//!
//! Two limits keep a pattern from meaning more than it says. A word with `/`
//! and `*` does not match an argument that climbs with `..`. Variables that
//! decide which program or library is loaded or started (`PATH`, `LD_…`, `GIT_…`,
//! `NODE_OPTIONS`, most `npm_config_…`, …) can be set only under a scope whose
//! program is `sh`, `bash`, `env` or `*`.

use super::error::EffectError;
use super::glob;
use super::grant::ScopeError;
use super::mask::Masker;
use super::secrets::Secret;
use crate::ids::RunId;
use async_trait::async_trait;
use std::fmt::{self, Debug};
use std::time::Duration;

/// Which commands a plugin may run on the target. Grammar: module doc.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SshScope {
    probe_only: bool,
    /// The program and the fixed arguments, as patterns; never empty.
    words: Vec<String>,
    /// Ended with `**`.
    open: bool,
}

impl SshScope {
    /// Reads a scope. The error says how to write one.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let how = "write the program and its arguments, `*` for one argument, `**` at the end \
                   for the rest, for example \"git fetch **\" or \"probe:df *\"";
        let (probe_only, rest) = match text.trim().strip_prefix("probe:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
        let open = words.last().is_some_and(|w| w == "**");
        if open {
            words.pop();
        }
        if words.is_empty() {
            return Err(ScopeError::new(format!(
                "ssh scope \"{text}\" names no program; {how}"
            )));
        }
        if let Some(word) = words.iter().find(|w| w.contains("**")) {
            return Err(ScopeError::new(format!(
                "ssh scope \"{text}\" has `{word}` before its end; {how}"
            )));
        }
        if words.iter().any(|w| w.chars().any(char::is_control)) {
            return Err(ScopeError::new(format!(
                "ssh scope {text:?} has a control character; {how}"
            )));
        }
        Ok(Self {
            probe_only,
            words,
            open,
        })
    }

    /// Whether it covers this command; `probe` says how it is called.
    pub fn allows(&self, command: &Command, probe: bool) -> bool {
        if self.probe_only && !probe {
            return false;
        }
        let given: Vec<&str> = std::iter::once(command.program.as_str())
            .chain(command.args.iter().map(String::as_str))
            .collect();
        let names = command.env.iter().map(|(name, _)| name);
        let secret_names = command.secret_env.iter().map(|(name, _)| name);
        self.takes(given.len(), false)
            && self
                .words
                .iter()
                .zip(&given)
                .all(|(w, g)| word_matches(w, g))
            && (self.frees_environment() || !names.chain(secret_names).any(|n| chooses_program(n)))
    }

    /// Whether every command that `other` allows is allowed by this one.
    pub fn covers(&self, other: &Self) -> bool {
        (!self.probe_only || other.probe_only)
            && self.takes(other.words.len(), other.open)
            && self
                .words
                .iter()
                .zip(&other.words)
                .all(|(mine, theirs)| word_matches(mine, theirs))
            && (self.frees_environment() || !other.frees_environment())
    }

    /// Whether only probes are allowed.
    pub fn is_probe_only(&self) -> bool {
        self.probe_only
    }

    /// The power as a sentence without a full stop.
    pub fn sentence(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let any = |program: &str| match program {
            "*" => "any command".to_owned(),
            "sh" | "bash" => "any shell script".to_owned(),
            _ => format!("`{program}` with any arguments"),
        };
        let what = match (words.as_slice(), self.open) {
            ([program], true) => any(program),
            (["sh" | "bash", "-s" | "-c" | "*", ..], _) => any("sh"),
            (_, false) if !words.iter().any(|w| w.contains('*')) => {
                format!("exactly `{}`", words.join(" "))
            }
            (_, false) => format!("commands like `{}`", words.join(" ")),
            (_, true) => format!("`{}` with any further arguments", words.join(" ")),
        };
        match self.probe_only {
            true => format!("runs {what} on the target, only to look"),
            false => format!("runs {what} on the target"),
        }
    }

    fn takes(&self, count: usize, others_follow: bool) -> bool {
        match self.open {
            true => count >= self.words.len(),
            false => count == self.words.len() && !others_follow,
        }
    }

    fn frees_environment(&self) -> bool {
        self.words
            .first()
            .is_some_and(|p| matches!(p.as_str(), "sh" | "bash" | "env" | "*"))
    }
}

impl fmt::Display for SshScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.probe_only {
            f.write_str("probe:")?;
        }
        f.write_str(&self.words.join(" "))?;
        if self.open {
            f.write_str(" **")?;
        }
        Ok(())
    }
}

fn word_matches(pattern: &str, text: &str) -> bool {
    let climbs = |t: &str| t.split('/').any(|part| part == "..");
    let is_path = pattern.contains('/') && pattern.contains('*');
    glob::matches(pattern, text) && !(is_path && climbs(text) && !climbs(pattern))
}

/// Variables by which a harmless program becomes another one, or is made to
/// start another one: of the loader, the shells, git, npm and the interpreters.
pub(super) fn chooses_program(name: &str) -> bool {
    const NAMES: [&str; 19] = [
        "PATH",
        "IFS",
        "ENV",
        "BASH_ENV",
        "SHELL",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
        "HOME",
        "XDG_CONFIG_HOME",
        "EDITOR",
        "VISUAL",
        "PAGER",
        "SSH_ASKPASS",
        "NODE_OPTIONS",
        "NODE_PATH",
        "RUBYOPT",
        "RUBYLIB",
        "JAVA_TOOL_OPTIONS",
    ];
    const FAMILIES: [&str; 6] = ["LD_", "DYLD_", "GIT_", "PYTHON", "PERL5", "BASH_FUNC_"];
    // Of npm only what says how much it prints and asks, and which kinds of
    // dependencies it installs.
    const NPM: [&str; 8] = [
        "audit",
        "fund",
        "update_notifier",
        "progress",
        "loglevel",
        "color",
        "yes",
        "include",
    ];
    if let Some(option) = name.to_ascii_lowercase().strip_prefix("npm_config_") {
        return !NPM.contains(&option);
    }
    NAMES.contains(&name)
        || (name != "GIT_TERMINAL_PROMPT" && FAMILIES.iter().any(|f| name.starts_with(f)))
}

/// A command for the target, before quoting.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program, found in the target's PATH.
    pub program: String,
    /// Its arguments, unquoted.
    pub args: Vec<String>,
    /// Environment in the clear.
    pub env: Vec<(String, String)>,
    /// Environment that must never be in an argument list or a log.
    pub secret_env: Vec<(String, Secret)>,
    /// Working directory, absolute or relative to the login directory.
    pub cwd: Option<String>,
    /// Standard input.
    pub stdin: Vec<u8>,
    /// Total time.
    pub timeout: Duration,
    /// Longest silence, if bounded.
    pub idle_timeout: Option<Duration>,
    /// Bytes kept of stdout and of stderr each.
    pub max_output: usize,
    /// Hides secrets in what is kept, before it is cut.
    pub masker: Masker,
    /// Of a change: it runs on the target as this job. It goes on when the
    /// connection drops and is found again, also by another process.
    pub job: Option<JobId>,
}

/// Names a change for good: the run, and the number of the effect in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobId {
    /// The run.
    pub run: RunId,
    /// The number of the effect.
    pub effect: u64,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.effect)
    }
}

impl Command {
    /// A command with the defaults of the contract.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            secret_env: Vec::new(),
            cwd: None,
            stdin: Vec::new(),
            timeout: Duration::from_secs(600),
            idle_timeout: None,
            max_output: 256 * 1024,
            masker: Masker::none(),
            job: None,
        }
    }

    /// The command as a person would type it, for events and the journal;
    /// has no secret in it.
    pub fn display(&self) -> String {
        let mut text = self.program.clone();
        for arg in &self.args {
            text.push(' ');
            text.push_str(&super::quote::sh(arg));
        }
        text
    }
}

/// What a command left behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// None when a signal ended it or no status arrived.
    pub exit_code: Option<u32>,
    /// Without SIG.
    pub signal: Option<String>,
    /// First and last half of what was printed.
    pub stdout: Vec<u8>,
    /// The same for stderr.
    pub stderr: Vec<u8>,
    /// Whether bytes in the middle were dropped.
    pub truncated: bool,
}

/// Which of the two streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives output while a command runs.
pub trait LiveOutput: Send + Sync {
    /// Some bytes arrived. Must not block.
    fn chunk(&self, stream: Stream, bytes: &[u8]);
    /// Says what is being waited for: one line, present tense.
    fn doing(&self, _: &str) {}
}

/// Drops live output.
#[derive(Debug)]
pub struct NoLiveOutput;
impl LiveOutput for NoLiveOutput {
    fn chunk(&self, _: Stream, _: &[u8]) {}
}

/// The connection to the run's target.
#[async_trait]
pub trait Ssh: Send + Sync + Debug {
    /// Connects (or checks the connection) without running anything. Errors:
    /// `ssh.unreachable`, `ssh.auth`, `ssh.platform`, `ssh.host-key`, `ssh.tls`.
    async fn connect(&self) -> Result<(), EffectError>;
    /// Runs one command to its end. A non-zero exit is an `Output`.
    async fn run(&self, command: &Command, live: &dyn LiveOutput) -> Result<Output, EffectError>;
    /// An earlier process of the run may have started jobs on the target.
    fn expect_jobs(&self) {}
    /// Removes what the run's jobs left on the target: their results are in
    /// the journal and nobody comes back for them.
    async fn forget_jobs(&self, _: &RunId) -> Result<(), EffectError> {
        Ok(())
    }
    /// The numbers of the run's jobs that the target knows: a change that was
    /// begun there as a job is among them.
    async fn jobs_of(&self, _: &RunId) -> Result<Vec<u64>, EffectError> {
        Ok(Vec::new())
    }
    /// Ends what jobs of another run still do on the target: it has lost its
    /// lease, and two runs must not change a target at once. Says which ones
    /// had no end yet; the error names what does not end.
    async fn end_jobs_of(&self, _: &RunId) -> Result<Vec<JobId>, EffectError> {
        Ok(Vec::new())
    }
    /// Ends the connection in an orderly way, and before it what still runs
    /// there and is not waited for any more.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> SshScope {
        SshScope::parse(text).unwrap()
    }

    fn command(line: &str) -> Command {
        let mut words = line.split(' ').map(str::to_owned);
        let mut command = Command::new(words.next().unwrap());
        command.args = words.collect();
        command
    }

    fn allows(pattern: &str, line: &str) -> bool {
        scope(pattern).allows(&command(line), false)
    }

    #[test]
    fn allows_what_the_pattern_says() {
        for (pattern, line) in [
            ("npm ci", "npm ci"),
            ("git **", "git"),
            ("git **", "git reset --hard origin/main"),
            ("git fetch *", "git fetch origin"),
            ("git fetch **", "git fetch"),
            ("node *.js", "node server.js"),
            ("* **", "rm -rf /"),
            ("cat /proc/*/cwd", "cat /proc/12/cwd"),
            ("  git   fetch  ", "git fetch"),
        ] {
            assert!(allows(pattern, line), "{pattern} | {line}");
        }
    }

    #[test]
    fn refuses_near_misses() {
        for (pattern, line) in [
            ("npm ci", "npm cit"),
            ("npm ci", "npm"),
            ("npm ci", "npm ci --force"),
            ("git **", "gitk --all"),
            ("git **", "/tmp/git fetch"),
            ("git fetch *", "git fetch"),
            ("git fetch *", "git fetch origin main"),
            ("git fetch **", "git push"),
            ("node *.js", "node server.jsx"),
            ("cat /tmp/*", "cat /tmp/../etc/shadow"),
            ("npm ci", "npm ci\nrm"),
        ] {
            assert!(!allows(pattern, line), "{pattern} | {line}");
        }
    }

    #[test]
    fn one_star_is_exactly_one_argument_even_with_spaces_in_it() {
        let mut c = command("sh -c");
        c.args.push("a b c".to_owned());
        assert!(scope("sh -c *").allows(&c, false));
        c.args.push("d".to_owned());
        assert!(!scope("sh -c *").allows(&c, false));
    }

    #[test]
    fn a_probe_scope_allows_probes_only() {
        let c = command("git status");
        assert!(scope("probe:git **").allows(&c, true));
        assert!(!scope("probe:git **").allows(&c, false));
        assert!(scope("git **").allows(&c, true));
    }

    #[test]
    fn a_variable_that_picks_the_program_needs_a_scope_for_a_shell() {
        for name in ["PATH", "LD_PRELOAD", "BASH_ENV"] {
            let mut c = command("cat notes");
            c.env.push((name.to_owned(), "/tmp".to_owned()));
            assert!(!scope("cat **").allows(&c, false), "{name}");
            assert!(scope("* **").allows(&c, false), "{name}");
        }
        let mut c = command("cat notes");
        c.env.push(("LC_ALL".to_owned(), "C".to_owned()));
        assert!(scope("cat **").allows(&c, false));
    }

    #[test]
    fn covers_is_true_only_for_what_is_narrower() {
        for (wide, narrow) in [
            ("git **", "git **"),
            ("git **", "git fetch *"),
            ("git **", "probe:git **"),
            ("git *", "git fetch"),
            ("* **", "sh -s **"),
            ("node *.js", "node dist/*.js"),
        ] {
            assert!(scope(wide).covers(&scope(narrow)), "{wide} | {narrow}");
        }
        for (a, b) in [
            ("git fetch *", "git **"),
            ("git *", "git fetch origin"),
            ("probe:git **", "git **"),
            ("git fetch", "git *"),
            ("git fetch", "git fetch **"),
            ("s* **", "sh -s **"),
            ("cat /tmp/*", "cat /tmp/../*"),
        ] {
            assert!(!scope(a).covers(&scope(b)), "{a} | {b}");
        }
    }

    #[test]
    fn reads_back_what_it_prints_and_refuses_nonsense_with_the_way_to_write_it() {
        for text in ["git **", "probe:df -P *", "npm ci"] {
            assert_eq!(scope(text).to_string(), text);
        }
        for text in ["", "**", "probe:", "git ** origin", "git a**"] {
            let error = SshScope::parse(text).unwrap_err().to_string();
            assert!(error.contains("for example \"git fetch **\""), "{error}");
        }
    }

    #[test]
    fn sentences_name_the_power() {
        for (text, sentence) in [
            ("git **", "runs `git` with any arguments on the target"),
            ("npm ci", "runs exactly `npm ci` on the target"),
            ("sh -s **", "runs any shell script on the target"),
            ("* **", "runs any command on the target"),
            (
                "probe:git status **",
                "runs `git status` with any further arguments on the target, only to look",
            ),
            ("kill *", "runs commands like `kill *` on the target"),
        ] {
            assert_eq!(scope(text).sentence(), sentence);
        }
    }

    #[test]
    fn a_variable_that_starts_another_program_needs_a_scope_for_any_program() {
        let with = |name: &str| {
            let mut command = command("git fetch origin");
            command.env = vec![(name.to_owned(), "x".to_owned())];
            command
        };
        for name in [
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "NODE_OPTIONS",
            "npm_config_script_shell",
            "NPM_CONFIG_GIT",
            "PYTHONPATH",
            "HOME",
        ] {
            assert!(!scope("git **").allows(&with(name), false), "{name}");
            assert!(scope("* **").allows(&with(name), false), "{name}");
        }
        for name in [
            "NODE_ENV",
            "GIT_TERMINAL_PROMPT",
            "npm_config_audit",
            "npm_config_include",
            "PORT",
        ] {
            assert!(scope("git **").allows(&with(name), false), "{name}");
        }
    }
}
