//! The one line that the target's login shell gets for a command. Pure.
//!
//! Every word is quoted here. A small wrapper on the target prints its process
//! group and then becomes the program (`launch.sh`). What the plugin sets is
//! applied last: plain variables by `env`, to the program alone; secrets as
//! exported variables of a shell that only has to `exec`. A secret is never in
//! the line or in an argument list: the wrapper reads one line per secret from
//! standard input; the program gets the rest.

use crate::exec::process_group;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::ErrorKind;
use vdeploy_core::capability::quote::sh;
use vdeploy_core::capability::ssh::Command;
use vdeploy_core::capability::variables::is_variable_name;
use vdeploy_core::codes;
use zeroize::Zeroizing;

/// Linux accepts no single argument longer than this, and sshd passes the line
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

/// What a command needs before its program starts.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Shell text: reads the secrets from standard input into variables, and
    /// exits when one is missing.
    pub(crate) read: String,
    /// The function `vd_become`: takes program and arguments, and becomes the
    /// program. Needs the functions of `launch.sh`.
    pub(crate) become_it: String,
    /// One line per secret.
    pub(crate) secrets: Zeroizing<Vec<u8>>,
    /// Program and arguments, quoted.
    pub(crate) words: String,
}

/// # Errors
/// `ssh.invalid` says what of the command cannot be sent.
pub fn build(command: &Command) -> Result<CommandLine, EffectError> {
    let Launch {
        read,
        become_it,
        secrets,
        words,
    } = launch(command, None)?;
    let script = format!(
        "{}\n{read}{}{become_it}vd_become \"$@\"",
        process_group::announcement(),
        functions()
    );
    let line = format!("exec sh -c {} sh {words}", sh(&script));
    check_length(&line)?;
    let stdin = joined(&secrets, &command.stdin);
    Ok(CommandLine { line, stdin })
}

/// The shell functions that every command needs.
pub(crate) fn functions() -> String {
    compact(include_str!("launch.sh"))
}

/// A script without comments and indentation: it is sent with each command.
pub(crate) fn compact(script: &str) -> String {
    script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Exactly sized: growing would leave copies of secrets behind.
pub(crate) fn joined(secrets: &[u8], stdin: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut all = Zeroizing::new(Vec::new());
    all.reserve_exact(secrets.len() + stdin.len());
    all.extend_from_slice(secrets);
    all.extend_from_slice(stdin);
    all
}

/// `through` is shell text for the path of a program that starts the command's
/// program.
pub(crate) fn launch(command: &Command, through: Option<&str>) -> Result<Launch, EffectError> {
    let program = &command.program;
    if program.is_empty() || program.starts_with('-') {
        return Err(invalid(format!("`{program}` is not the name of a program")));
    }
    no_nul("the program's name", program)?;
    let mut words = sh(program);
    for arg in &command.args {
        no_nul("an argument", arg)?;
        words.push(' ');
        words.push_str(&sh(arg));
    }
    let mut become_it = String::from("vd_become() {\nvd_need \"$1\"\nvd_program=$vd_path\nshift\n");
    let mut argv = through.map_or(String::new(), |path| format!("{path} "));
    if !command.env.is_empty() {
        become_it.push_str("vd_no_equals \"$vd_program\"\nvd_need env\n");
        argv.push_str("\"$vd_path\" -- ");
    }
    for (name, value) in &command.env {
        variable_name(name)?;
        no_nul(&format!("the value of {name}"), value)?;
        argv.push_str(&format!("{} ", sh(&format!("{name}={value}"))));
    }
    if let Some(cwd) = &command.cwd {
        no_nul("the working directory", cwd)?;
        if cwd.is_empty() {
            return Err(invalid("the working directory is empty".to_owned()));
        }
        // `./` keeps CDPATH and a leading `-` out of it.
        let dot = if cwd.starts_with('/') { "" } else { "./" };
        become_it.push_str(&format!("cd {} || exit\n", sh(&format!("{dot}{cwd}"))));
    }
    become_it.push_str(&format!("set -- {argv}\"$vd_program\" \"$@\"\n"));
    become_it.push_str(&exports(command)?);
    become_it.push_str("exec \"$@\"\n}\n");
    let values = command.secret_env.iter().map(|(_, s)| s.value.expose());
    let mut secrets = Zeroizing::new(Vec::new());
    secrets.reserve_exact(values.clone().map(|value| value.len() + 1).sum());
    for value in values {
        secrets.extend_from_slice(value.as_bytes());
        secrets.push(b'\n');
    }
    let read = (0..command.secret_env.len())
        .map(|nth| format!("IFS= read -r vd_s{nth} || exit\n"))
        .collect();
    Ok(Launch {
        read,
        become_it,
        secrets,
        words,
    })
}

/// Shell text that exports the secrets. They become positional parameters
/// first: a secret whose name is that of a variable here changes no other one.
fn exports(command: &Command) -> Result<String, EffectError> {
    let (mut values, mut text) = (String::new(), String::new());
    for (nth, (name, value)) in command.secret_env.iter().enumerate() {
        variable_name(name)?;
        if value.value.expose().contains(['\n', '\0']) {
            return Err(invalid(format!(
                "the secret `{}` has a line break or a NUL in it and cannot be an environment \
                 variable; store it without (base64, for example)",
                value.name
            )));
        }
        values.push_str(&format!("\"$vd_s{nth}\" "));
        text.push_str(&format!("export {name}=\"${{{}}}\" || exit\n", nth + 1));
    }
    Ok(match command.secret_env.len() {
        0 => String::new(),
        count => format!("set -- {values}\"$@\"\n{text}shift {count}\n"),
    })
}

pub(crate) fn check_length(line: &str) -> Result<(), EffectError> {
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
    EffectError::new(ErrorKind::Invalid, codes::SSH_INVALID, message)
}

fn no_nul(what: &str, text: &str) -> Result<(), EffectError> {
    if text.contains('\0') {
        return Err(invalid(format!("{what} has a NUL in it")));
    }
    Ok(())
}

fn variable_name(name: &str) -> Result<(), EffectError> {
    match is_variable_name(name) {
        true => Ok(()),
        false => Err(invalid(format!(
            "`{name}` is not a name for an environment variable"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Stdio;
    use vdeploy_core::capability::secrets::{Secret, SecretValue};

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
    fn a_program_is_found_before_anything_is_set() {
        for shell in ["sh", "bash"] {
            let mut c = Command::new("printenv");
            c.args = vec!["PATH".into()];
            c.env = vec![("PATH".into(), "/nowhere".into())];
            c.cwd = Some("/usr".into());
            assert_eq!(run(shell, &c), (Some(0), "/nowhere\n".into()));
            c.env.clear();
            c.secret_env = vec![secret("PATH", "/nowhere")];
            assert_eq!(run(shell, &c), (Some(0), "/nowhere\n".into()));
            let missing = Command::new("no-such-program");
            assert_eq!(run(shell, &missing).0, Some(127));
        }
    }

    #[test]
    fn ten_and_more_secrets_arrive_each_under_its_name() {
        let mut c = Command::new("printenv");
        let names: Vec<String> = (0..12).map(|n| format!("S{n}")).collect();
        c.args.clone_from(&names);
        c.secret_env = names
            .iter()
            .map(|n| secret(n, &format!("of {n}")))
            .collect();
        let all: String = names.iter().map(|n| format!("of {n}\n")).collect();
        for shell in ["sh", "bash"] {
            assert_eq!(run(shell, &c), (Some(0), all.clone()));
        }
    }

    #[test]
    fn a_path_with_an_equals_sign_is_not_taken_for_a_variable() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("a=b");
        std::os::unix::fs::symlink("/usr/bin/printenv", &program).unwrap();
        let mut c = Command::new(program.to_str().unwrap());
        c.args = vec!["HOME".into()];
        assert_eq!(run("sh", &c).0, Some(0));
        c.env = vec![("X".into(), "1".into())];
        assert_eq!(run("sh", &c), (Some(126), String::new()));
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
