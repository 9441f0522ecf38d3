//! What a plugin sets reaches the named program and nothing of the wrapper,
//! whatever its name is. The gate refuses the wrapper's names; here they come
//! past it.

use super::{SHELLS, Target, targets};
use crate::exec::command_line;
use crate::jobs::request::forget;
use crate::jobs::{list, orphans};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use vdeploy_core::capability::quote::sh;
use vdeploy_core::capability::secrets::{Secret, SecretValue};
use vdeploy_core::capability::ssh::Command;

const JOB: &str = include_str!("../job.sh");
const LAUNCH: &str = include_str!("../../exec/launch.sh");
const LEASE: &str = include_str!("../../../../lease/src/target.sh");

/// Variables that mean something to a shell or to the programs that it starts.
const OF_SHELLS: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "ENV",
    "EUID",
    "HOME",
    "IFS",
    "LANG",
    "LC_ALL",
    "LINENO",
    "OLDPWD",
    "OPTARG",
    "OPTIND",
    "PATH",
    "POSIXLY_CORRECT",
    "PPID",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELL",
    "SHELLOPTS",
    "TMPDIR",
    "UID",
    "_",
];

/// Every word of the scripts that could be a name: variables, functions, and
/// more than those.
fn words(scripts: &[&str]) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let code = scripts.iter().flat_map(|script| script.lines());
    code.filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(|c| !is_part(c)))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .map(str::to_owned)
        .collect()
}

/// What is set as a variable in the script: `name=`, `read name`, `for name in`.
fn variables(script: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|l| !l.starts_with('#'))
    {
        let mut before = "";
        for word in line.split([' ', ';', '{', '(', '\'']) {
            if let Some((name, _)) = word.split_once('=') {
                found.insert(name.to_owned());
            }
            if before == "for" || before == "-r" {
                found.insert(word.to_owned());
            }
            before = word;
        }
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    found.retain(|name| !name.is_empty() && name.chars().all(is_part));
    found
}

/// The wrapper of a probe or a job as it is made for one command.
fn made() -> String {
    let mut command = Command::new("x");
    command.env = vec![("A".into(), "x".into())];
    command.secret_env = vec![("B".into(), secret("x"))];
    command_line::build(&command).unwrap().line
}

fn secret(value: &str) -> Secret {
    Secret {
        name: "token".to_owned(),
        value: SecretValue::new(value.to_owned()),
    }
}

/// A directory of the plugin's choice: each program there leaves a mark.
struct Trap {
    dir: tempfile::TempDir,
}

impl Trap {
    fn set() -> Self {
        let trap = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        trap.program("evil");
        for name in ["printenv", "env", "setsid", "sh", "cat", "ln", "rm", "head"] {
            trap.program(name);
        }
        trap
    }

    fn program(&self, name: &str) {
        let text = format!("#!/bin/sh\ntouch {}\n", sh(&self.mark().to_string_lossy()));
        std::fs::write(self.path(name), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path(name), mode).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mark(&self) -> PathBuf {
        self.path("it-ran")
    }

    /// `printenv NAME` with everything else of the plugin's choice against it.
    fn command(&self, name: &str, value: &str, is_secret: bool) -> Command {
        let mut command = Command::new("printenv");
        command.args = vec![name.to_owned()];
        match is_secret {
            true => command.secret_env = vec![(name.to_owned(), secret(value))],
            false => command.env = vec![(name.to_owned(), value.to_owned())],
        }
        command.cwd = Some(self.dir.path().to_string_lossy().into_owned());
        command.stdin = format!("touch {}\n", sh(&self.mark().to_string_lossy())).into_bytes();
        command
    }
}

/// What a probe prints in this shell.
fn probe(shell: &[&str], command: &Command) -> String {
    let built = command_line::build(command).unwrap();
    let line = built
        .line
        .replacen("exec sh -c", &format!("exec {} -c", shell.join(" ")), 1);
    let mut child = std::process::Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program need not read its input.
    let _ = std::io::Write::write_all(&mut stdin, &built.stdin);
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// What a job prints in the shell of this target.
fn job(target: &Target, command: &Command, effect: u64) -> String {
    let (out, _) = target.start(command, effect).end();
    let out = out.strip_prefix("@ begin\n").unwrap_or(&out).to_owned();
    out.split('@').next().unwrap_or_default().to_owned()
}

fn only_the_program_ran(trap: &Trap, target: &Target, names: &[&str], is_secret: bool) {
    let evil = trap.path("evil").to_string_lossy().into_owned();
    let expected = format!("{evil}\n");
    for (effect, name) in (1..).zip(names) {
        let command = trap.command(name, &evil, is_secret);
        let seen = probe(target.shell, &command);
        assert_eq!(seen, expected, "probe, {name}, {:?}", target.shell);
        let seen = job(target, &command, effect);
        assert_eq!(seen, expected, "job, {name}, {:?}", target.shell);
        assert!(!trap.mark().exists(), "{name}, {:?}", target.shell);
    }
}

#[test]
fn no_name_of_the_wrapper_or_of_a_shell_starts_anything_else() {
    let trap = Trap::set();
    let of_wrapper = words(&[JOB, LAUNCH, &made()]);
    let own: Vec<&str> = of_wrapper
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with("vd_"))
        .collect();
    assert!(
        own.contains(&"vd_setsid") && own.contains(&"vd_become"),
        "{own:?}"
    );
    for target in targets() {
        only_the_program_ran(&trap, &target, &[&own[..], OF_SHELLS].concat(), false);
    }
}

#[test]
fn no_secret_with_a_name_of_the_wrapper_starts_anything_else() {
    let trap = Trap::set();
    let of_wrapper = words(&[JOB, LAUNCH, &made()]);
    let own: Vec<&str> = of_wrapper
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with("vd_"))
        .chain(["PATH", "IFS", "ENV", "BASH_ENV", "PS4", "HOME", "TMPDIR"])
        .collect();
    for target in targets() {
        only_the_program_ran(&trap, &target, &own, true);
    }
}

#[test]
fn all_names_of_all_scripts_at_once_start_nothing_else() {
    let trap = Trap::set();
    let forget = forget("RUN");
    let made = made();
    let all = [
        JOB,
        LAUNCH,
        LEASE,
        orphans::SCRIPT,
        list::SCRIPT,
        &forget,
        &made,
    ];
    let evil = trap.path("evil").to_string_lossy().into_owned();
    let mut command = trap.command("vd_setsid", &evil, false);
    let names = words(&all);
    assert!(
        names.contains("holder") && names.contains("vd_j"),
        "{names:?}"
    );
    command.env = names
        .iter()
        .map(|name| (name.clone(), evil.clone()))
        .collect();
    for target in targets() {
        assert_eq!(probe(target.shell, &command), format!("{evil}\n"));
        assert_eq!(job(&target, &command, 1), format!("{evil}\n"));
        assert!(!trap.mark().exists(), "{:?}", target.shell);
    }
}

#[test]
fn every_variable_beside_a_command_has_a_name_that_is_refused() {
    let functions = words(&[JOB, LAUNCH, &made()])
        .into_iter()
        .filter(|word| word.starts_with("vd_"));
    let set: BTreeSet<String> = [JOB, LAUNCH].map(variables).into_iter().flatten().collect();
    assert!(
        set.contains("vd_setsid") && set.contains("vd_line"),
        "{set:?}"
    );
    for name in set
        .into_iter()
        .filter(|name| name != "IFS")
        .chain(functions)
    {
        for is_secret in [false, true] {
            let mut command = Command::new("npm");
            match is_secret {
                true => command.secret_env = vec![(name.clone(), secret("x"))],
                false => command.env = vec![(name.clone(), "x".into())],
            }
            let error = command.check().unwrap_err();
            assert_eq!(error.code, "ssh.invalid", "{name}");
            assert!(error.message.contains(&format!("`{name}`")), "{error}");
        }
    }
}

#[test]
fn a_relative_entry_of_path_chooses_no_program() {
    let trap = Trap::set();
    let mut command = Command::new("evil");
    command.cwd = Some(trap.dir.path().to_string_lossy().into_owned());
    let built = command_line::build(&command).unwrap();
    for shell in SHELLS {
        for path in [
            "",
            ".:/usr/bin:/bin",
            ":/usr/bin:/bin",
            "bin:/usr/bin:/bin:",
        ] {
            let out = std::process::Command::new("sh")
                .current_dir(trap.dir.path())
                .arg("-c")
                .arg(format!(
                    "PATH={path}; exec /usr/bin/{} {}",
                    shell.join(" "),
                    built.line.strip_prefix("exec sh").unwrap()
                ))
                .output()
                .unwrap();
            assert_eq!(out.status.code(), Some(127), "{path} {shell:?} {out:?}");
        }
    }
    assert!(!trap.mark().exists());
}

/// `env` of the target is one that writes down its arguments.
#[test]
fn a_secret_is_in_no_argument_list_of_the_wrapper_either() {
    let bin = tempfile::tempdir().unwrap();
    let log = bin.path().join("log");
    let env = bin.path().join("env");
    let log_text = sh(&log.to_string_lossy());
    let text = format!(
        "#!/bin/sh\ncat /proc/*/cmdline >>{log_text} 2>/dev/null\nexec /usr/bin/env \"$@\"\n"
    );
    std::fs::write(&env, text).unwrap();
    std::fs::set_permissions(&env, std::fs::Permissions::from_mode(0o755)).unwrap();
    let value = format!("s3cr3t-{}", ulid::Ulid::generate());
    let mut command = Command::new("printenv");
    command.args = vec!["TOKEN".into(), "PLAIN".into()];
    command.env = vec![("PLAIN".into(), "in-the-clear".into())];
    command.secret_env = vec![("TOKEN".into(), secret(&value))];
    let said = format!("{value}\nin-the-clear\n");
    for mut target in targets() {
        target.path = Some(with_first(bin.path()));
        assert_eq!(job(&target, &command, 1), said, "{:?}", target.shell);
        let seen = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        assert!(seen.contains("PLAIN=in-the-clear"), "{:?}", target.shell);
        assert!(!seen.contains(&value), "{:?}", target.shell);
        std::fs::remove_file(&log).unwrap();
    }
}

/// The PATH of this machine with `dir` before all.
fn with_first(dir: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", dir.display())
}
