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

/// Variables by which a harmless program becomes another one, or is made to
/// start another one or to load foreign code: of the loader, the shells, git,
/// npm, build tools, the interpreters and others. Not every program is known.
pub(super) fn chooses_program(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "ANSIBLE_CONFIG",
        "AR",
        "BASHOPTS",
        "BASH_ENV",
        "CC",
        "CDPATH",
        "CLASSPATH",
        "CMAKE_TOOLCHAIN_FILE",
        "CURL_CA_BUNDLE",
        "CURL_HOME",
        "CXX",
        "EDITOR",
        "ENV",
        "GCONV_PATH",
        "GNUPGHOME",
        "GOAUTH",
        "GOCACHEPROG",
        "GOFLAGS",
        "GOPROXY",
        "GOTOOLCHAIN",
        "GRADLE_OPTS",
        "HOME",
        "HOSTALIASES",
        "IFS",
        "JAVA_OPTS",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "KUBECONFIG",
        "LESSCLOSE",
        "LESSOPEN",
        "LOCPATH",
        "LUA_INIT",
        "LUA_PATH",
        "MAKE",
        "MAKEFILES",
        "MAKEFLAGS",
        "MANPAGER",
        "NLSPATH",
        "NODE_COMPILE_CACHE",
        "NODE_EXTRA_CA_CERTS",
        "NODE_OPTIONS",
        "NODE_PATH",
        "NODE_TLS_REJECT_UNAUTHORIZED",
        "OPENSSL_CONF",
        "OPENSSL_ENGINES",
        "OPENSSL_MODULES",
        "PAGER",
        "PATH",
        "PGSERVICEFILE",
        "PHPRC",
        "PHP_INI_SCAN_DIR",
        "PREFIX",
        "PS4",
        "PSQLRC",
        "REQUESTS_CA_BUNDLE",
        "RSYNC_RSH",
        "RUBYLIB",
        "RUBYOPT",
        "RUSTC",
        "R_ENVIRON",
        "R_PROFILE",
        "SHELL",
        "SHELLOPTS",
        "SSH_ASKPASS",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TAR_OPTIONS",
        "VISUAL",
        "WGETRC",
        "XDG_CONFIG_HOME",
    ];
    const FAMILIES: &[&str] = &[
        "AWS_",
        "BASH_FUNC_",
        "BUNDLE_",
        "CARGO_",
        "COREPACK_",
        "DOCKER_",
        "DOTNET_",
        "DYLD_",
        "ERL_",
        "GIT_",
        "GLIBC_",
        "LD_",
        "MAVEN_",
        "PERL",
        "PIP_",
        "PYTHON",
        "RUSTC_",
        "SYSTEMD_",
        "YARN_",
        "_JAVA_",
    ];
    // Where a program fetches from, in either case.
    const PROXIES: &[&str] = &["all_proxy", "ftp_proxy", "http_proxy", "https_proxy"];
    // Of npm only what says how much it prints and asks, and which kinds of
    // dependencies it installs.
    const NPM: &[&str] = &[
        "audit",
        "fund",
        "update_notifier",
        "progress",
        "loglevel",
        "color",
        "yes",
        "include",
    ];
    let lower = name.to_ascii_lowercase();
    if let Some(option) = lower.strip_prefix("npm_config_") {
        return !NPM.contains(&option);
    }
    NAMES.contains(&name)
        || PROXIES.contains(&lower.as_str())
        || (name != "GIT_TERMINAL_PROMPT" && FAMILIES.iter().any(|f| name.starts_with(f)))
}

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
