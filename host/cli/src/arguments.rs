//! The words of the command line, read; and what is said when they cannot be.

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::{Cli, terminal};
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use std::ffi::OsString;

/// What was typed.
#[derive(Debug)]
pub struct Arguments {
    /// Options and command.
    pub cli: Cli,
    /// Whether a program reads standard output: an error is an object there, too.
    pub json: bool,
}

impl Arguments {
    /// Reads the words of this process. Help is printed here, and so is what is
    /// wrong with them.
    ///
    /// # Errors
    /// The exit code, when there is nothing more to do.
    pub fn read() -> Result<Self, ExitCode> {
        let words: Vec<OsString> = std::env::args_os().collect();
        let read = Cli::command().try_get_matches_from(&words);
        let read = read.and_then(|matches| {
            Ok(Self {
                json: asks_for_json(&matches),
                cli: Cli::from_arg_matches(&matches)?,
            })
        });
        read.map_err(|error| {
            let is_asked_for = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            if is_asked_for {
                // A reader that has gone does no harm.
                let _ = error.print();
                return ExitCode::Success;
            }
            terminal::usage_error(&error);
            if names_json(&words) {
                terminal::json_error(&as_error(&error));
            }
            ExitCode::Usage
        })
    }
}

/// Whether the command that was meant was given its `--json`.
fn asks_for_json(matches: &ArgMatches) -> bool {
    let mut at = matches;
    while let Some((_, below)) = at.subcommand() {
        at = below;
    }
    matches!(at.try_get_one::<bool>("json"), Ok(Some(true)))
}

/// The same of words that make no sense as a whole.
fn names_json(words: &[OsString]) -> bool {
    let mut options = words.iter().take_while(|word| *word != "--");
    options.any(|word| {
        word == "--json"
            || word
                .to_str()
                .is_some_and(|word| word.starts_with("--json="))
    })
}

/// The first paragraph says what is wrong, the others what to do.
fn as_error(error: &clap::Error) -> CliError {
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let found = CliError::usage(message.trim());
    match rest.trim() {
        "" => found,
        rest => found.hint(rest),
    }
}
