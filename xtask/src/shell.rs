//! `cargo xtask shell`: every shell script passes shellcheck and has the format
//! of shfmt. Their settings are in `.shellcheckrc` and `.editorconfig`, where
//! editors find them too.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command;
use crate::setup;
use crate::workspace::Workspace;

/// Checks all scripts.
///
/// # Errors
/// When a checker is missing or has a finding.
pub fn check(workspace: &Workspace) -> Result<()> {
    setup::linters()?;
    let scripts = scripts(&workspace.root)?;
    ensure!(!scripts.is_empty(), "no shell script was found");
    for (program, options) in [("shellcheck", &[][..]), ("shfmt", &["--diff"])] {
        command::run(
            Command::new(program)
                .current_dir(&workspace.root)
                .args(options)
                .args(&scripts),
        )?;
    }
    eprintln!("shell: {} scripts are fine", scripts.len());
    Ok(())
}

/// The scripts that git knows or would add.
fn scripts(root: &Path) -> Result<Vec<String>> {
    let listed = command::output(Command::new("git").current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut scripts: Vec<String> = listed
        .split_terminator('\0')
        .filter(|name| is_script(&root.join(name)))
        .map(str::to_owned)
        .collect();
    scripts.sort_unstable();
    scripts.dedup();
    Ok(scripts)
}

/// Whether the name or the first line says so. A file that was removed and that
/// git still lists is none.
fn is_script(file: &Path) -> bool {
    let Ok(opened) = File::open(file) else {
        return false;
    };
    if file.extension().is_some_and(|extension| extension == "sh") {
        return true;
    }
    let mut first = Vec::new();
    let read = BufReader::new(opened).read_until(b'\n', &mut first);
    read.is_ok() && names_shell(&String::from_utf8_lossy(&first))
}

/// Whether a first line hands the file to a shell that both checkers know.
fn names_shell(first: &str) -> bool {
    let Some(program) = first.strip_prefix("#!") else {
        return false;
    };
    program
        .split_whitespace()
        .any(|word| matches!(word.rsplit('/').next(), Some("sh" | "bash" | "dash")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_script_is_known_by_its_name_or_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text, wanted) in [
            ("a.sh", "echo a\n", true),
            ("run", "#!/usr/bin/env bash\nexit\n", true),
            ("posix", "#!/bin/sh\n", true),
            ("tool", "#!/usr/bin/env python3\n", false),
            ("notes.md", "#!/bin/shared\n", false),
            ("empty", "", false),
        ] {
            let file = dir.path().join(name);
            fs::write(&file, text).unwrap();
            assert_eq!(is_script(&file), wanted, "{name}");
        }
        assert!(!is_script(&dir.path().join("removed.sh")));
        assert!(!is_script(dir.path()));
    }

    #[test]
    fn new_scripts_are_found_and_ignored_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let git = Command::new("git")
            .current_dir(dir.path())
            .args(["init", "--quiet"])
            .status();
        assert!(git.unwrap().success());
        fs::write(dir.path().join(".gitignore"), "built.sh\n").unwrap();
        fs::write(dir.path().join("built.sh"), "").unwrap();
        fs::write(dir.path().join("new.sh"), "").unwrap();
        assert_eq!(scripts(dir.path()).unwrap(), ["new.sh"]);
    }
}
