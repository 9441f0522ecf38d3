//! Names of environment variables that a plugin sets for a command. Pure.

use super::error::{EffectError, ErrorKind};
use super::ssh::Command;
use crate::codes;
use std::collections::BTreeSet;

/// Begins the names that the host's own scripts on the target use.
const OWN: &str = "vd_";

/// Variables of the shells themselves. A shell sets, keeps or refuses them, so
/// the value of a secret would not arrive; a plain value does, without a shell.
const OF_SHELLS: &[&str] = &[
    "_",
    "BASHOPTS",
    "BASHPID",
    "BASH_ARGV0",
    "BASH_SUBSHELL",
    "BASH_VERSINFO",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "OPTIND",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "UID",
];

/// Whether the variables of a command can be set at all, whatever is granted
/// (`ssh.invalid`).
pub(super) fn check(command: &Command) -> Result<(), EffectError> {
    let mut seen = BTreeSet::new();
    let plain = command.env.iter().map(|(name, _)| (name, false));
    let secret = command.secret_env.iter().map(|(name, _)| (name, true));
    for (name, is_secret) in plain.chain(secret) {
        if !is_variable_name(name) {
            return Err(invalid(format!(
                "{name:?} is not a name for an environment variable: letters, digits and `_`"
            )));
        }
        if name.starts_with(OWN) {
            return Err(invalid(format!(
                "the environment variable `{name}` cannot be set: names that begin with `{OWN}` \
                 are vdeploy's own on the target"
            )));
        }
        if is_secret && OF_SHELLS.contains(&name.as_str()) {
            return Err(invalid(format!(
                "the environment variable `{name}` cannot have a secret as its value: the shells \
                 set it themselves; take another name"
            )));
        }
        if !seen.insert(name) {
            return Err(invalid(format!(
                "the environment variable `{name}` is set twice"
            )));
        }
    }
    Ok(())
}

/// A letter or `_`, then letters, digits and `_`, all of ASCII.
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn invalid(message: String) -> EffectError {
    EffectError::new(ErrorKind::Invalid, codes::SSH_INVALID, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::secrets::{Secret, SecretValue};

    fn secret() -> Secret {
        Secret {
            name: "token".to_owned(),
            value: SecretValue::new("s3cr3t".to_owned()),
        }
    }

    fn plain(names: &[&str]) -> Result<(), EffectError> {
        let mut command = Command::new("npm");
        command.env = names.iter().map(|n| ((*n).into(), "x".into())).collect();
        check(&command)
    }

    fn hidden(names: &[&str]) -> Result<(), EffectError> {
        let mut command = Command::new("npm");
        command.secret_env = names.iter().map(|n| ((*n).into(), secret())).collect();
        check(&command)
    }

    #[test]
    fn names_that_are_none_vdeploys_own_or_given_twice_are_refused() {
        for set in [plain, hidden] {
            set(&["NODE_ENV", "TOKEN", "_x1"]).unwrap();
            for (names, why) in [
                (&["vd_setsid"][..], "vdeploy's own"),
                (&["vd_"], "vdeploy's own"),
                (&["A", "B", "A"], "set twice"),
                (&[""], "is not a name"),
                (&["A=B"], "is not a name"),
                (&["A B"], "is not a name"),
                (&["1A"], "is not a name"),
                (&["A;id"], "is not a name"),
                (&["Ä"], "is not a name"),
                (&["BASH_FUNC_sh%%"], "is not a name"),
                (&["A\n"], "is not a name"),
                (&["A\0"], "is not a name"),
            ] {
                let error = set(names).unwrap_err();
                assert_eq!(error.code, "ssh.invalid");
                assert!(error.message.contains(why), "{error}");
            }
        }
        let mut both = Command::new("npm");
        both.env = vec![("TOKEN".into(), "x".into())];
        both.secret_env = vec![("TOKEN".into(), secret())];
        assert!(check(&both).unwrap_err().message.contains("set twice"));
    }

    #[test]
    fn a_secret_does_not_go_where_a_shell_would_change_it() {
        for name in OF_SHELLS.iter().copied() {
            assert!(hidden(&[name]).is_err(), "{name}");
            plain(&[name]).unwrap();
        }
    }
}
