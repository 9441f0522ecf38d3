//! Which commands a plugin may run on the target. Pure.
//!
//! Scope grammar, one string a grant, words split at white space:
//!
//! | word | matches |
//! |---|---|
//! | text, with `*` inside | one argument (`*` any characters) |
//! | `*` | one argument |
//! | `**` (last word) | any number of further arguments |
//!
//! The first word is the program. `probe:` before the pattern allows probes
//! only: `probe:git **`. That a probe only looks is the plugin's word.
//!
//! A pattern bounds the program and its arguments. Directory and input of the
//! command are the plugin's choice, and so are its variables but for the known
//! ones that decide which program or library is loaded or started
//! ([`super::variables`]): those can be set only under a scope whose program is
//! `sh`, `bash`, `env` or `*`. A word with `/` and `*` does not match an argument
//! that climbs with `..`.

use super::glob;
use super::grants::ScopeError;
use super::program::may_start_others;
use super::variables::chooses_program;
use std::fmt;
use vdeploy_core::capability::ssh::Command;

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

    /// Whether it is written with `probe:`.
    pub fn is_for_probes(&self) -> bool {
        self.probe_only
    }

    /// Whether it covers this command; `probe` says how it is called.
    pub fn allows(&self, command: &Command, probe: bool) -> bool {
        self.allows_words(command, probe)
            && (self.frees_environment() || chosen_by(command).next().is_none())
    }

    /// The same without a look at the variables of the command.
    pub fn allows_words(&self, command: &Command, probe: bool) -> bool {
        if self.probe_only && !probe {
            return false;
        }
        let given: Vec<&str> = std::iter::once(command.program.as_str())
            .chain(command.args.iter().map(String::as_str))
            .collect();
        self.takes(given.len(), false)
            && self
                .words
                .iter()
                .zip(&given)
                .all(|(w, g)| word_matches(w, g))
    }

    /// The scope that covers the words of this command and of no other. The
    /// error says what of it no scope can say.
    pub fn exactly(command: &Command, probe: bool) -> Result<Self, String> {
        let mut words = Vec::new();
        for (nth, word) in std::iter::once(&command.program)
            .chain(&command.args)
            .enumerate()
        {
            let odd = match word {
                word if word.is_empty() => "is empty",
                word if word.contains(char::is_whitespace) => "has white space in it",
                word if word.chars().any(char::is_control) => "has a control character in it",
                word if word.contains('*') => "has a `*` in it",
                word if nth == 0 && word.starts_with("probe:") => "begins with `probe:`",
                word => {
                    words.push(word.clone());
                    continue;
                }
            };
            return Err(match nth {
                0 => format!("its program {odd}"),
                nth => format!("its argument {nth} {odd}"),
            });
        }
        Ok(Self {
            probe_only: probe,
            words,
            open: false,
        })
    }

    /// Whether only probes are allowed.
    pub fn is_probe_only(&self) -> bool {
        self.probe_only
    }

    /// Whether a plugin with this scope can do anything on the target that the
    /// login user can: by a shell, an interpreter, a program that starts others,
    /// or arguments without an end.
    pub fn can_do_anything(&self) -> bool {
        self.open || self.words.first().is_some_and(|p| may_start_others(p))
    }

    /// The power as a sentence without a full stop.
    pub fn sentence(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let line = words.join(" ");
        let what = match (words.as_slice(), self.open) {
            (["*"], true) => "any command".to_owned(),
            (["sh" | "bash"], true) | (["sh" | "bash", "-s" | "-c" | "*", ..], _) => {
                "any shell script".to_owned()
            }
            ([program], true) => format!("`{program}` with any arguments"),
            (_, true) => format!("`{line}` with any further arguments"),
            (_, false) if line.contains('*') => format!("commands like `{line}`"),
            (_, false) => format!("`{line}`"),
        };
        let option = match line.contains('*') {
            true => " (a `*` may be an option)",
            false => "",
        };
        let bound = match self.can_do_anything() {
            true => ": can do anything on the target".to_owned(),
            false => format!(
                " on the target{option}, in a directory and with input and most variables of the \
                 plugin's choice"
            ),
        };
        let word = match self.probe_only {
            true => "; looks only, by the plugin's word",
            false => "",
        };
        format!("runs {what}{bound}{word}")
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

/// The variables of the command by which it may become another one.
pub(crate) fn chosen_by(command: &Command) -> impl Iterator<Item = &str> {
    let plain = command.env.iter().map(|(name, _)| name);
    let secret = command.secret_env.iter().map(|(name, _)| name);
    plain
        .chain(secret)
        .map(String::as_str)
        .filter(|name| chooses_program(name))
}

fn word_matches(pattern: &str, text: &str) -> bool {
    let climbs = |t: &str| t.split('/').any(|part| part == "..");
    let is_path = pattern.contains('/') && pattern.contains('*');
    glob::matches(pattern, text) && !(is_path && climbs(text) && !climbs(pattern))
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
    fn sentences_say_what_a_scope_bounds_and_what_it_does_not() {
        let chosen = "in a directory and with input and most variables of the plugin's choice";
        for (text, sentence) in [
            (
                "git **",
                "runs `git` with any arguments: can do anything on the target".to_owned(),
            ),
            ("npm ci", format!("runs `npm ci` on the target, {chosen}")),
            (
                "sh -s **",
                "runs any shell script: can do anything on the target".to_owned(),
            ),
            (
                "* **",
                "runs any command: can do anything on the target".to_owned(),
            ),
            (
                "/usr/bin/python3 /srv/x.py",
                "runs `/usr/bin/python3 /srv/x.py`: can do anything on the target".to_owned(),
            ),
            (
                "probe:sh -s -- facts **",
                "runs any shell script: can do anything on the target; looks only, by the \
                 plugin's word"
                    .to_owned(),
            ),
            (
                "probe:df -P /",
                format!("runs `df -P /` on the target, {chosen}; looks only, by the plugin's word"),
            ),
            (
                "kill *",
                format!(
                    "runs commands like `kill *` on the target (a `*` may be an option), {chosen}"
                ),
            ),
        ] {
            assert_eq!(scope(text).sentence(), sentence);
        }
    }

    #[test]
    fn the_exact_scope_covers_the_command_and_nothing_else() {
        let mut c = command("git fetch origin");
        let exact = SshScope::exactly(&c, true).unwrap();
        assert_eq!(exact.to_string(), "probe:git fetch origin");
        assert_eq!(SshScope::parse(&exact.to_string()).unwrap(), exact);
        assert!(exact.allows(&c, true) && !exact.allows(&c, false));
        for (odd, why) in [
            ("", "its argument 3 is empty"),
            ("a b", "its argument 3 has white space in it"),
            ("*", "its argument 3 has a `*` in it"),
            ("**", "its argument 3 has a `*` in it"),
            ("a\u{1b}b", "its argument 3 has a control character in it"),
        ] {
            c.args = vec!["fetch".into(), "origin".into(), odd.into()];
            assert_eq!(SshScope::exactly(&c, false).unwrap_err(), why);
        }
        let odd = SshScope::exactly(&Command::new("probe:git"), false);
        assert_eq!(odd.unwrap_err(), "its program begins with `probe:`");
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
            "PERLLIB",
            "HOME",
            "TAR_OPTIONS",
            "MAKEFILES",
            "https_proxy",
            "HTTPS_PROXY",
            "_JAVA_OPTIONS",
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
