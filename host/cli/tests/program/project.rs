//! Which project file counts, and what of it may run.

use crate::support::{Place, give_away, ran, set_mode};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Every command that reads the project, with words that let it come that far.
const COMMANDS: &[&[&str]] = &[
    &["run", "--plan", "smoke"],
    &["run", "--plan", "smoke", "--dry-run"],
    &["doctor", "--plan", "smoke"],
    &["plan", "list"],
    &["plan", "show"],
    &["plan", "check", "smoke"],
    &["rollback"],
    &["resume", "latest"],
    &["abandon", "latest", "--reason", "none"],
    &["replay", "latest"],
    &["lease", "show"],
    &["lease", "break", "--reason", "none", "--yes"],
];

/// A project whose secret is a command that leaves a trace when it runs.
fn text(trace: &Path) -> String {
    format!(
        "[targets.infra]\ntype = \"vers\"\nvm = \"12d4a14f-9338-4f29-842e-6432632dc4f5\"\n\
         host-key = \"first-use\"\napi-url = \"http://127.0.0.1:9\"\n\n[secrets.vers-api-key]\n\
         command = [\"sh\", \"-c\", \"touch {}; exit 1\"]\n",
        trace.display()
    )
}

/// Each command refuses the file, and nothing of it runs.
#[track_caller]
fn refused(place: &Place, cwd: &Path, file: &Path, why: &str) {
    let shown = file.display().to_string();
    for args in COMMANDS {
        let words = [&*shown, why, "--project", "VDEPLOY_PROJECT"];
        place.vdeploy(cwd, args).expect(2, &words);
        assert!(!place.path("trace").exists(), "{args:?} ran its command");
    }
    assert!(!place.state().exists(), "something was begun");
}

#[test]
fn the_file_of_somebody_else_is_refused_and_nothing_of_it_runs() {
    let place = Place::new();
    place.dir("shared", 0o1777);
    let cwd = place.dir("shared/mine", 0o755);
    let file = place.file("shared/vdeploy.toml", &text(&place.path("trace")), 0o644);
    give_away(&file);
    // A directory that everybody can write is refused too; this is about the file.
    set_mode(&place.path("shared"), 0o755);
    refused(&place, &cwd, &file, "belongs to nobody (uid 65534)");
}

#[test]
fn a_file_in_the_directory_of_somebody_else_is_refused() {
    let place = Place::new();
    let theirs = place.dir("theirs", 0o755);
    let cwd = place.dir("theirs/mine", 0o755);
    let file = place.file("theirs/vdeploy.toml", &text(&place.path("trace")), 0o644);
    give_away(&theirs);
    refused(&place, &cwd, &file, "theirs belongs to nobody");
}

#[test]
fn a_file_or_directory_that_everybody_can_write_is_refused() {
    for (dir_mode, file_mode) in [(0o755, 0o646), (0o777, 0o644), (0o1777, 0o644)] {
        let place = Place::new();
        place.dir("shared", dir_mode);
        let file = place.file(
            "shared/vdeploy.toml",
            &text(&place.path("trace")),
            file_mode,
        );
        for cwd in [place.path("shared"), place.dir("shared/mine", 0o755)] {
            refused(&place, &cwd, &file, "can be written by everybody");
        }
    }
}

#[test]
fn a_link_is_judged_where_it_leads() {
    let place = Place::new();
    let cwd = place.dir("mine", 0o755);
    let elsewhere = place.dir("elsewhere", 0o755);
    let real = place.file("elsewhere/project.toml", &text(&place.path("trace")), 0o666);
    let link = cwd.join("vdeploy.toml");
    symlink("../elsewhere/project.toml", &link).unwrap();
    refused(&place, &cwd, &link, "elsewhere/project.toml can be written");
    set_mode(&real, 0o644);
    set_mode(&elsewhere, 0o777);
    refused(&place, &cwd, &link, "elsewhere can be written");
    set_mode(&elsewhere, 0o755);
    place.vdeploy(&cwd, &["plan", "list"]).expect(0, &[]);
}

#[test]
fn the_next_one_further_up_does_not_stand_in_for_it() {
    let place = Place::new();
    place.dir("a/b", 0o755);
    place.file("a/vdeploy.toml", "", 0o644);
    let near = place.file("a/b/vdeploy.toml", "", 0o666);
    let shown = near.display().to_string();
    let list = || place.vdeploy(&place.path("a/b"), &["plan", "list"]);
    list().expect(2, &[&shown, "everybody"]);
    // Nor does it for a link that leads nowhere.
    fs::remove_file(&near).unwrap();
    symlink("nothing", &near).unwrap();
    list().expect(2, &[&shown, "cannot be read"]);
    fs::remove_file(&near).unwrap();
    list().expect(0, &[]);
}

#[test]
fn a_file_that_is_named_counts_whoever_owns_it() {
    let place = Place::new();
    let cwd = place.dir("shared", 0o1777);
    let file = place.file("shared/vdeploy.toml", "", 0o666);
    give_away(&file);
    let shown = file.display().to_string();
    place.vdeploy(&cwd, &["plan", "list"]).expect(2, &[]);
    let named = ["--project", &shown, "plan", "list"];
    place.vdeploy(&cwd, &named).expect(0, &[]);
    let mut by_variable = place.command(&cwd, &["plan", "list"]);
    ran(by_variable.env("VDEPLOY_PROJECT", "vdeploy.toml")).expect(0, &[]);
}

#[test]
fn in_somebody_elses_directory_their_file_counts() {
    let place = Place::new();
    let theirs = place.dir("theirs", 0o755);
    let below = place.dir("theirs/below", 0o755);
    let file = place.file("theirs/vdeploy.toml", "", 0o664);
    for path in [&theirs, &below, &file] {
        give_away(path);
    }
    for cwd in [&theirs, &below] {
        place.vdeploy(cwd, &["plan", "list"]).expect(0, &[]);
    }
}

#[test]
fn what_a_found_file_names_and_runs_is_judged_too() {
    let place = Place::new();
    let cwd = place.dir("project", 0o755);
    let plugin = place.file("project/p.wasm", "no wasm", 0o666);
    place.file(
        "project/vdeploy.toml",
        "[plugins.p]\npath = \"p.wasm\"\n",
        0o644,
    );
    let list = || place.vdeploy(&cwd, &["plan", "list"]);
    let place_of_it = "vdeploy.toml:1:10: the file of plugin `p` is not used: ";
    list().expect(
        2,
        &[place_of_it, "p.wasm can be written by everybody", "digest"],
    );
    // Bytes that are pinned may lie anywhere, and so may what is named.
    let named = ["--project", "vdeploy.toml", "plan", "list"];
    place.vdeploy(&cwd, &named).expect(0, &[]);
    let pinned = format!(
        "[plugins.p]\npath = \"p.wasm\"\ndigest = \"sha256:{}\"\n",
        "0".repeat(64)
    );
    place.file("project/vdeploy.toml", &pinned, 0o644);
    list().expect(0, &[]);
    set_mode(&plugin, 0o644);

    let target = "[targets.a]\ntype = \"ssh\"\nhost = \"a\"\nssh-config = \"sub/config\"\n";
    place.file("project/vdeploy.toml", target, 0o644);
    place.dir("project/sub", 0o777);
    place.file("project/sub/config", "Host a\n", 0o644);
    let words = [
        "the `ssh-config` of target `a` is not used",
        "sub can be written",
    ];
    list().expect(2, &words);
    place.dir("project/sub", 0o755);
    list().expect(0, &[]);
}

#[test]
fn secrets_by_command_can_be_refused() {
    let place = Place::new();
    let cwd = place.dir("project", 0o755);
    let trace = place.path("trace");
    place.file("project/vdeploy.toml", &text(&trace), 0o644);
    let words = [
        "vers-api-key",
        "vdeploy.toml:8:1: the command was not run",
        "--no-command-secrets",
    ];
    let commands: &[&[&str]] = &[
        &["run", "--plan", "smoke"],
        &["run", "--plan", "smoke", "--dry-run"],
        &["doctor", "--plan", "smoke"],
        &["lease", "show"],
    ];
    for args in commands {
        // Without it the command runs: the trace is one.
        for (variable, flag) in [(None, false), (Some("0"), false)] {
            let mut command = place.command(&cwd, args);
            with(&mut command, variable, flag);
            command.env("VERS_AUTH_TOKEN", "some-token");
            ran(&mut command);
            assert!(trace.exists(), "{args:?}: its command was not even tried");
            fs::remove_file(&trace).unwrap();
        }
        for (variable, flag) in [(None, true), (Some("1"), false), (Some("true"), true)] {
            let mut command = place.command(&cwd, args);
            with(&mut command, variable, flag);
            command.env("VERS_AUTH_TOKEN", "some-token");
            let code = if args[0] == "lease" { 22 } else { 3 };
            ran(&mut command).expect(code, &words);
            assert!(!trace.exists(), "{args:?} ran its command");
        }
    }
}

fn with(command: &mut std::process::Command, variable: Option<&str>, flag: bool) {
    if let Some(value) = variable {
        command.env("VDEPLOY_NO_COMMAND_SECRETS", value);
    }
    if flag {
        command.arg("--no-command-secrets");
    }
}
