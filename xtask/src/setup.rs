//! `cargo xtask setup`: what the plugins, the demo, the tests and the checks
//! need. On Debian as root it installs what is missing; anywhere else it says
//! what to install and fails.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::command;
use crate::plugin_build::TARGET;
use crate::workspace::Workspace;

/// A program that is needed.
#[derive(Debug, PartialEq, Eq)]
struct Need {
    program: &'static str,
    /// What it is for, for the person who must install it.
    purpose: &'static str,
    /// The package of Debian and its like.
    debian: &'static str,
    /// The smallest major version, if that matters.
    major: Option<u32>,
}

const NEEDS: &[Need] = &[
    need(
        "cc",
        "links what cargo builds, compiles SQLite",
        "build-essential",
    ),
    need(
        "git",
        "the demo and the tests deploy from a repository",
        "git",
    ),
    Need {
        major: Some(20),
        ..need("node", "runs the sample service", "nodejs")
    },
    need("npm", "builds the sample service", "npm"),
    need("ssh", "the tests log in by hand", "openssh-client"),
    need("ssh-keygen", "makes keys for the tests", "openssh-client"),
    need(
        "sshd",
        "the tests deploy to a real SSH server",
        "openssh-server",
    ),
    need(
        "unshare",
        "the tests make machines of Linux namespaces",
        "util-linux",
    ),
    need(
        "nsenter",
        "the tests look into machines of Linux namespaces",
        "util-linux",
    ),
    need(
        "ip",
        "the tests' machines have a network of their own",
        "iproute2",
    ),
    need(
        "systemctl",
        "the tests restart a unit of a real systemd",
        "systemd",
    ),
    need("bash", "a shell that targets have", "bash"),
    need("dash", "a shell that targets have", "dash"),
    need("busybox", "a shell that targets have", "busybox"),
];

/// What only `cargo xtask ci` needs, so that the demo asks nobody for it.
const LINTERS: &[Need] = &[
    need("shellcheck", "checks the shell scripts", "shellcheck"),
    need("shfmt", "checks the format of the shell scripts", "shfmt"),
];

const fn need(program: &'static str, purpose: &'static str, debian: &'static str) -> Need {
    Need {
        program,
        purpose,
        debian,
        major: None,
    }
}

/// Why a need is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Missing,
    /// The major version that is there.
    TooOld(u32),
}

/// Where the packages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    /// Debian or its like, and we may install.
    AptAsRoot,
    /// Debian or its like, and a person must install.
    Apt,
    Other,
}

/// Makes sure of the wasm target and of every program that builds, runs or
/// tests.
///
/// # Errors
/// When something is missing and cannot be installed from here; the message
/// names it and says how to get it.
pub fn everything(workspace: &Workspace) -> Result<()> {
    wasm_target(workspace)?;
    provide(NEEDS)?;
    eprintln!("setup: everything needed is here");
    Ok(())
}

/// Makes sure of the programs that check the sources.
///
/// # Errors
/// As [`everything`].
pub fn linters() -> Result<()> {
    provide(LINTERS)
}

fn provide(needs: &'static [Need]) -> Result<()> {
    let mut lacks = lacks(needs);
    if !lacks.is_empty() && machine() == Machine::AptAsRoot {
        install(&packages(&lacks))?;
        lacks = self::lacks(needs);
    }
    if !lacks.is_empty() {
        bail!("{}", advice(&lacks, machine()));
    }
    Ok(())
}

/// Makes sure that rustc can compile plugins.
///
/// # Errors
/// When the target is missing and rustup cannot add it.
pub fn wasm_target(workspace: &Workspace) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(&workspace.root);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let libraries = command::output(&mut rustc)?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    if find("rustup").is_none() {
        bail!(
            "rustc cannot compile for {TARGET}: install the standard library of that target, \
             with rustup from https://rustup.rs/ or from your distribution"
        );
    }
    command::run(
        Command::new("rustup")
            .current_dir(&workspace.root)
            .args(["target", "add", TARGET]),
    )
}

fn lacks(needs: &'static [Need]) -> Vec<(&'static Need, Lack)> {
    needs
        .iter()
        .filter_map(|need| Some((need, lack(need)?)))
        .collect()
}

fn lack(need: &Need) -> Option<Lack> {
    let Some(path) = find(need.program) else {
        return Some(Lack::Missing);
    };
    let wanted = need.major?;
    let version = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match text.ok().as_deref().and_then(major) {
        Some(found) if found >= wanted => None,
        Some(found) => Some(Lack::TooOld(found)),
        None => Some(Lack::Missing),
    }
}

/// The first number of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    let version = version.trim();
    let digits = version.strip_prefix('v').unwrap_or(version);
    digits.split('.').next()?.parse().ok()
}

/// Where a program is: on the PATH, or where servers are that a user's PATH
/// often lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(servers)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn machine() -> Machine {
    if find("apt-get").is_none() || !Path::new("/etc/debian_version").exists() {
        return Machine::Other;
    }
    let id = Command::new("id").arg("-u").output();
    match id {
        Ok(output) if output.stdout.trim_ascii() == b"0" => Machine::AptAsRoot,
        _ => Machine::Apt,
    }
}

/// The Debian packages for what is missing, each once. A program that is too
/// old is not among them: its package gives the same version again.
fn packages(lacks: &[(&Need, Lack)]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = lacks
        .iter()
        .filter(|(_, lack)| *lack == Lack::Missing)
        .map(|(need, _)| need.debian)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        apt
    };
    command::run(apt().arg("update"))?;
    command::run(
        apt()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )
}

/// What a person reads who must install something.
fn advice(lacks: &[(&Need, Lack)], machine: Machine) -> String {
    let mut text = String::from("something is missing on this machine:\n");
    for (need, lack) in lacks {
        let problem = match (lack, need.major) {
            (Lack::TooOld(found), Some(wanted)) => {
                format!("version {found} is too old, {wanted} or newer is needed")
            }
            _ => "not found".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}: {problem} ({})", need.program, need.purpose);
    }
    let packages = packages(lacks).join(" ");
    if !packages.is_empty() {
        let _ = match machine {
            Machine::AptAsRoot => writeln!(text, "apt-get could not provide: {packages}"),
            Machine::Apt => writeln!(
                text,
                "run: sudo apt-get update && sudo apt-get install --yes {packages}"
            ),
            Machine::Other => writeln!(
                text,
                "install the packages that your system has for these of Debian: {packages}"
            ),
        };
    }
    if lacks
        .iter()
        .any(|(_, lack)| matches!(lack, Lack::TooOld(_)))
    {
        let _ = writeln!(text, "a newer Node.js is at https://nodejs.org/en/download");
    }
    text.push_str("then run the same command again");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(programs: &[(&str, Lack)]) -> Vec<(&'static Need, Lack)> {
        programs
            .iter()
            .map(|(program, lack)| {
                let mut needs = NEEDS.iter().chain(LINTERS);
                let need = needs.find(|need| need.program == *program).unwrap();
                (need, *lack)
            })
            .collect()
    }

    #[test]
    fn the_major_version_is_read_from_what_programs_print() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("10.8.2"), Some(10));
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn a_package_is_asked_for_once_and_never_for_an_old_program() {
        let lacks = lacking(&[
            ("ssh", Lack::Missing),
            ("ssh-keygen", Lack::Missing),
            ("cc", Lack::Missing),
            ("node", Lack::TooOld(18)),
        ]);
        assert_eq!(packages(&lacks), ["build-essential", "openssh-client"]);
    }

    #[test]
    fn a_person_on_debian_gets_the_exact_command() {
        let text = advice(&lacking(&[("sshd", Lack::Missing)]), Machine::Apt);
        assert!(
            text.contains("sudo apt-get update && sudo apt-get install --yes openssh-server\n"),
            "{text}"
        );
    }

    #[test]
    fn elsewhere_the_packages_are_named() {
        let missing = [("git", Lack::Missing), ("shfmt", Lack::Missing)];
        let text = advice(&lacking(&missing), Machine::Other);
        assert!(text.contains("of Debian: git shfmt\n"), "{text}");
        assert!(!text.contains("apt-get"), "{text}");
    }

    #[test]
    fn an_old_node_is_not_installed_again_but_explained() {
        let text = advice(&lacking(&[("node", Lack::TooOld(18))]), Machine::Apt);
        assert!(
            text.contains("version 18 is too old, 20 or newer"),
            "{text}"
        );
        assert!(text.contains("nodejs.org"), "{text}");
        assert!(!text.contains("apt-get install"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_missing() {
        assert_eq!(
            lack(&need("no-such-program-x", "", "")),
            Some(Lack::Missing)
        );
        assert_eq!(lack(&need("sh", "", "")), None);
    }
}
