//! Commands that a person is told to type. Each carries the options of every
//! command that this command line was given, so that it finds the same project
//! and the same state.

use crate::{Cli, Global};
use clap::CommandFactory as _;
use std::borrow::Cow;
use std::path::Path;

/// The program's name in a command.
const PROGRAM: &str = "vdeploy ";

/// What of this command line belongs into every command that is recommended.
#[derive(Clone, Debug, Default)]
pub struct GlobalFlags {
    /// Each with a blank behind it.
    options: String,
}

impl GlobalFlags {
    /// From the options of every command. What the environment says is there for
    /// the next command too.
    pub fn of(global: &Global) -> Self {
        let mut options = String::new();
        for (option, value, variable) in [
            ("--project", &global.project, "VDEPLOY_PROJECT"),
            ("--state", &global.state, "VDEPLOY_STATE"),
        ] {
            if let Some(value) = value
                && std::env::var_os(variable).as_deref() != Some(value.as_os_str())
            {
                options.push_str(&format!("{option} {} ", quoted(value)));
            }
        }
        if global.no_command_secrets && std::env::var_os("VDEPLOY_NO_COMMAND_SECRETS").is_none() {
            options.push_str("--no-command-secrets ");
        }
        Self { options }
    }

    /// The same text, and each command of this program in it can be pasted. A
    /// command stands in backticks, at the beginning of a line or behind a colon.
    pub fn complete<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.options.is_empty() || !text.contains(PROGRAM) {
            return Cow::Borrowed(text);
        }
        let cli = Cli::command();
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(PROGRAM) {
            let (before, from) = rest.split_at(at + PROGRAM.len());
            done.push_str(before);
            let lead = done.strip_suffix(PROGRAM).unwrap_or_default();
            let begins = lead.ends_with('`')
                || matches!(
                    lead.trim_end_matches(' ').chars().next_back(),
                    None | Some('\n' | ':')
                );
            let word: &str = from
                .split(|c: char| !c.is_ascii_alphabetic())
                .next()
                .unwrap_or_default();
            if begins && cli.find_subcommand(word).is_some() {
                done.push_str(&self.options);
            }
            rest = from;
        }
        done.push_str(rest);
        Cow::Owned(done)
    }

    /// The same of commands.
    pub fn complete_all(&self, commands: Vec<String>) -> Vec<String> {
        commands
            .into_iter()
            .map(|command| self.complete(&command).into_owned())
            .collect()
    }
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    match shlex::try_quote(&path) {
        Ok(quoted) => quoted.into_owned(),
        // A NUL cannot be in a path.
        Err(_) => path.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(project: Option<&str>, state: Option<&str>) -> GlobalFlags {
        GlobalFlags::of(&Global {
            project: project.map(Into::into),
            state: state.map(Into::into),
            no_command_secrets: false,
            verbose: true,
        })
    }

    #[test]
    fn commands_carry_the_options_quoted_for_a_shell() {
        let flags = flags(Some("my project.toml"), Some("/var/x"));
        let options = "--project 'my project.toml' --state /var/x";
        for (text, done) in [
            (
                "vdeploy resume 01A",
                format!("vdeploy {options} resume 01A"),
            ),
            (
                "One of:\n  vdeploy rollback 01A   go back\n",
                format!("One of:\n  vdeploy {options} rollback 01A   go back\n"),
            ),
            (
                "`vdeploy runs list` shows them; again: vdeploy run",
                format!("`vdeploy {options} runs list` shows them; again: vdeploy {options} run"),
            ),
            ("vdeploy failed", "vdeploy failed".to_owned()),
            (
                "a newer vdeploy run it",
                "a newer vdeploy run it".to_owned(),
            ),
            ("the user `vdeploy `", "the user `vdeploy `".to_owned()),
        ] {
            assert_eq!(flags.complete(text), done);
        }
    }

    #[test]
    fn without_options_nothing_is_added() {
        let text = "vdeploy resume 01A";
        assert_eq!(flags(None, None).complete(text), text);
    }
}
