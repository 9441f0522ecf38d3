//! The one line that the target's login shell gets for a command. Pure.
//!
//! Every word is quoted here. A small wrapper on the target says its process
//! group, sets directory and environment, and then becomes the program. A
//! secret is never part of the line: the wrapper reads one line a secret from
//! standard input; the program gets the rest.

use super::group;
use crate::capability::EffectError;
use crate::capability::ErrorKind;
use crate::capability::quote::sh;
use crate::capability::ssh::Command;
use zeroize::Zeroizing;

/// Linux takes no single argument longer than this, and sshd hands the line
/// to the login shell as one argument.
const LONGEST_LINE: usize = 128 * 1024 - 1;

/// What goes over the wire for one command.
#[derive(Debug)]
pub struct CommandLine {
    /// For the login shell.
    pub line: String,
    /// The secrets and then the command's own standard input.
    pub stdin: Zeroizing<Vec<u8>>,
}

/// What a command needs before its program begins.
#[derive(Debug)]
pub(super) struct Environment {
    /// Sets directory and environment; ends with `&& ` or is empty.
    pub(super) script: String,
    /// One line a secret.
    pub(super) secrets: Zeroizing<Vec<u8>>,
    /// Program and arguments, quoted.
    pub(super) words: String,
}

/// Builds the line, or says what of the command cannot be sent
/// (`ssh.invalid`).
pub fn build(command: &Command) -> Result<CommandLine, EffectError> {
    let read = |name: &str, _| format!("IFS= read -r {name} && export {name}");
    let Environment {
        script,
        secrets,
        words,
    } = environment(command, read)?;
    let script = format!("{}; {script}exec \"$@\"", group::announcement());
    let line = format!("exec sh -c {} sh {words}", sh(&script));
    check_length(&line)?;
    let stdin = joined(&secrets, &command.stdin);
    Ok(CommandLine { line, stdin })
}

/// Exactly sized: growing would leave copies of secrets behind.
pub(super) fn joined(secrets: &[u8], stdin: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut all = Zeroizing::new(Vec::new());
    all.reserve_exact(secrets.len() + stdin.len());
    all.extend_from_slice(secrets);
    all.extend_from_slice(stdin);
    all
}

/// What the command needs; `secret` gives the shell text that makes the nth
/// secret a variable of this name.
pub(super) fn environment(
    command: &Command,
    secret: impl Fn(&str, usize) -> String,
) -> Result<Environment, EffectError> {
    let program = &command.program;
    if program.is_empty() || program.starts_with('-') {
        return Err(invalid(format!("`{program}` is not the name of a program")));
    }
    no_nul("the program's name", program)?;
    let mut script = String::new();
    if let Some(cwd) = &command.cwd {
        no_nul("the working directory", cwd)?;
        if cwd.is_empty() {
            return Err(invalid("the working directory is empty".to_owned()));
        }
        // `./` keeps CDPATH and a leading `-` out of it.
        let dot = if cwd.starts_with('/') { "" } else { "./" };
        script.push_str(&format!("cd {} && ", sh(&format!("{dot}{cwd}"))));
    }
    for (name, value) in &command.env {
        variable_name(name)?;
        no_nul(&format!("the value of {name}"), value)?;
        script.push_str(&format!("export {name}={} && ", sh(value)));
    }
    let mut words = sh(program);
    for arg in &command.args {
        no_nul("an argument", arg)?;
        words.push(' ');
        words.push_str(&sh(arg));
    }
    for (nth, (name, value)) in command.secret_env.iter().enumerate() {
        variable_name(name)?;
        if value.value.expose().contains(['\n', '\0']) {
            return Err(invalid(format!(
                "the secret `{}` has a line break or a NUL in it and cannot be an environment \
                 variable; store it without (base64, for example)",
                value.name
            )));
        }
        script.push_str(&format!("{} && ", secret(name, nth)));
    }
    let values = command.secret_env.iter().map(|(_, s)| s.value.expose());
    let mut secrets = Zeroizing::new(Vec::new());
    secrets.reserve_exact(values.clone().map(|value| value.len() + 1).sum());
    for value in values {
        secrets.extend_from_slice(value.as_bytes());
        secrets.push(b'\n');
    }
    Ok(Environment {
        script,
        secrets,
        words,
    })
}

/// Whether the target's kernel takes the line.
pub(super) fn check_length(line: &str) -> Result<(), EffectError> {
    if line.len() > LONGEST_LINE {
        return Err(invalid(format!(
            "the command line has {} bytes, the target takes {LONGEST_LINE}; pass long values on \
             standard input",
            line.len()
        )));
    }
    Ok(())
}

fn invalid(message: String) -> EffectError {
    EffectError::new(ErrorKind::Invalid, "ssh.invalid", message)
}

fn no_nul(what: &str, text: &str) -> Result<(), EffectError> {
    if text.contains('\0') {
        return Err(invalid(format!("{what} has a NUL in it")));
    }
    Ok(())
}

fn variable_name(name: &str) -> Result<(), EffectError> {
    let mut chars = name.chars();
    let good = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        return Err(invalid(format!(
            "`{name}` is not a name for an environment variable"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::secrets::{Secret, SecretValue};
    use std::io::Write;
    use std::process::Stdio;

    fn secret(name: &str, value: &str) -> (String, Secret) {
        let secret = Secret {
            name: name.to_lowercase(),
            value: SecretValue::new(value.to_owned()),
        };
        (name.to_owned(), secret)
    }

    /// Runs the line as sshd would.
    fn run(shell: &str, command: &Command) -> (Option<i32>, String) {
        let built = build(command).unwrap();
        let mut child = std::process::Command::new(shell)
            .arg("-c")
            .arg(&built.line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&built.stdin).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    }

    #[test]
    fn arguments_environment_directory_and_input_arrive_as_given() {
        let nasty = "a'b \"c\" $(id) `id` \\ ; & | \n * ~";
        let mut c = Command::new("sh");
        c.args = vec![
            "-c".into(),
            r#"printf '%s|%s|%s|%s|' "$1" "$PLAIN" "$TOKEN" "$(pwd)"; cat"#.into(),
            "x".into(),
            nasty.into(),
        ];
        c.env = vec![("PLAIN".into(), nasty.into())];
        c.cwd = Some("/usr".into());
        c.stdin = b"the rest\n".to_vec();
        for shell in ["sh", "bash"] {
            let without = format!("{nasty}|{nasty}||/usr|the rest\n");
            c.secret_env.clear();
            assert_eq!(run(shell, &c), (Some(0), without));
            let value = r"  spaces\n and \backslash' ";
            c.secret_env = vec![secret("OTHER", ""), secret("TOKEN", value)];
            let with = format!("{nasty}|{nasty}|{value}|/usr|the rest\n");
            assert_eq!(run(shell, &c), (Some(0), with));
        }
    }

    #[test]
    fn a_secret_is_not_in_the_line() {
        let mut c = Command::new("env");
        c.secret_env = vec![secret("TOKEN", "s3cr3t")];
        let built = build(&c).unwrap();
        assert!(!built.line.contains("s3cr3t"), "{}", built.line);
        assert_eq!(built.stdin.as_slice(), b"s3cr3t\n");
    }

    #[test]
    fn a_secret_with_a_line_break_is_refused_by_name_without_its_value() {
        for value in ["two\nlines", "nul\0"] {
            let mut c = Command::new("env");
            c.secret_env = vec![secret("TOKEN", value)];
            let error = build(&c).unwrap_err();
            assert_eq!(error.code, "ssh.invalid");
            assert!(error.message.contains("`token`"), "{error}");
            assert!(!error.message.contains("lines"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let mut bad = vec![Command::new(""), Command::new("-x"), Command::new("a\0b")];
        let mut c = Command::new("env");
        c.env = vec![("A B".into(), String::new())];
        bad.push(c);
        let mut c = Command::new("echo");
        c.args = vec!["x".repeat(LONGEST_LINE)];
        bad.push(c);
        for c in bad {
            assert_eq!(build(&c).unwrap_err().code, "ssh.invalid");
        }
    }

    #[test]
    fn a_missing_directory_stops_the_command() {
        let mut c = Command::new("echo");
        c.args = vec!["ran".into()];
        c.cwd = Some("-no-such".into());
        let (code, out) = run("sh", &c);
        assert_ne!(code, Some(0));
        assert_eq!(out, "");
    }
}
