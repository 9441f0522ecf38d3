//! Whose state directory and cache are used.

use crate::support::{Place, Ran, give_away, ran, set_mode};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Every command that uses the state directory.
const COMMANDS: &[&[&str]] = &[
    &["run", "--plan", "smoke"],
    &["run", "--plan", "smoke", "--dry-run"],
    &["doctor", "--plan", "smoke"],
    &["plan", "check", "smoke"],
    &["rollback"],
    &["resume", "latest"],
    &["abandon", "latest", "--reason", "none"],
    &["replay", "latest"],
    &["runs", "list"],
    &["runs", "show", "latest"],
    &["runs", "export", "latest"],
    &["runs", "prune", "--keep", "1"],
    &["lease", "show"],
    &["lease", "break", "--reason", "none", "--yes"],
    &["local", "up", "--detach"],
    &["local", "status"],
    &["local", "down"],
];

/// Each command refuses the directory, and nothing is made or changed there.
#[track_caller]
fn refused(place: &Place, state: &Path, why: &str) {
    let before = names(state);
    let shown = state.display().to_string();
    for args in COMMANDS {
        let mut command = place.command(&place.path("home"), args);
        command.env("VDEPLOY_STATE", state);
        let words = [&*shown, "is not used", why, "--state"];
        ran(&mut command).expect(3, &words);
        assert_eq!(names(state), before, "{args:?}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_state_directory_that_everybody_can_write_is_refused() {
    for mode in [0o777, 0o1777, 0o757] {
        let place = Place::new();
        let state = place.dir("state", mode);
        refused(&place, &state, "state can be written by everybody");
    }
}

#[test]
fn a_state_directory_that_could_be_replaced_is_refused() {
    let place = Place::new();
    place.dir("open", 0o777);
    let why = "open can be written by everybody";
    refused(&place, &place.dir("open/state", 0o700), why);
    refused(&place, &place.path("open/missing"), why);
    let link = place.path("link");
    symlink("open/state", &link).unwrap();
    refused(&place, &link, why);
    // With the sticky bit nobody else can take what is ours away.
    set_mode(&place.path("open"), 0o1777);
    for state in ["open/state", "open/missing", "link"] {
        let mut command = place.command(&place.path("home"), &["runs", "list"]);
        ran(command.env("VDEPLOY_STATE", place.path(state))).expect(0, &[]);
    }
}

#[test]
fn a_state_directory_of_somebody_else_is_refused() {
    let place = Place::new();
    let state = place.dir("state", 0o755);
    give_away(&state);
    refused(&place, &state, "state belongs to nobody (uid 65534)");
    // So is a link of theirs to one of ours.
    let shared = place.dir("shared", 0o1777);
    let link = shared.join("state");
    symlink(place.dir("mine", 0o700), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(65534), Some(65534)).unwrap();
    refused(&place, &link, "shared/state belongs to nobody");
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let place = Place::new();
    let list = || place.vdeploy(&place.path("home"), &["runs", "list"]);
    list().expect(0, &[]);
    let state = place.state();
    for name in ["vdeploy.db", "vdeploy.db-wal", "vdeploy.db-shm"] {
        let file = state.join(name);
        let was = fs::read(&file).ok();
        fs::write(&file, was.clone().unwrap_or_default()).unwrap();
        set_mode(&file, 0o666);
        refused(&place, &state, "can be written by everybody");
        set_mode(&file, 0o600);
        give_away(&file);
        refused(&place, &state, "belongs to nobody");
        fs::rename(&file, place.path("real")).unwrap();
        symlink(place.path("real"), &file).unwrap();
        refused(&place, &state, "is a symbolic link");
        fs::remove_file(&file).unwrap();
        if let Some(was) = was {
            fs::write(&file, was).unwrap();
            set_mode(&file, 0o600);
        }
    }
    list().expect(0, &[]);
}

#[test]
fn a_group_of_other_people_must_not_write_the_state_directory() {
    let place = Place::new();
    let state = place.dir("state", 0o700);
    give_away(&state);
    // The stranger's group, and still ours.
    std::os::unix::fs::chown(&state, Some(0), None).unwrap();
    set_mode(&state, 0o770);
    refused(&place, &state, "state can be written by the group");
    set_mode(&state, 0o750);
    place
        .vdeploy(&place.path("home"), &["runs", "list"])
        .expect(0, &[]);
}

#[test]
fn the_default_directories_are_judged_like_one_that_is_named() {
    let place = Place::new();
    let home = place.path("home");
    for (variable, base) in [("HOME", "home/.local/state"), ("XDG_STATE_HOME", "xdg")] {
        let state = place.dir(&format!("{base}/vdeploy"), 0o777);
        let mut command = place.command(&home, &["runs", "list"]);
        command.env_remove("VDEPLOY_STATE");
        if variable == "XDG_STATE_HOME" {
            command.env(variable, place.path(base));
        }
        let shown = state.display().to_string();
        ran(&mut command).expect(3, &[&shown, "everybody", "chmod o-w"]);
    }
}

/// One line says so, and the plan is checked all the same.
#[track_caller]
fn uncached(ran: Ran, dir: &Path, why: &str) {
    let ran = ran.expect(0, &["plan smoke: fine"]);
    let warnings = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning: "));
    let warnings: Vec<&str> = warnings.collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let shown = dir.display().to_string();
    for word in ["warning: compiled plugins are not kept", why, &*shown] {
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
    assert!(names(dir).is_empty(), "{:?}", names(dir));
}

#[test]
fn a_cache_that_others_own_or_can_write_is_not_used() {
    let place = Place::new();
    let home = place.path("home");
    let check = || place.command(&home, &["plan", "check", "smoke"]);
    let open = place.dir("open", 0o1777);
    let why = "can be written by everybody";
    uncached(ran(check().env("VDEPLOY_CACHE", &open)), &open, why);
    let theirs = place.dir("theirs", 0o755);
    give_away(&theirs);
    let why = "belongs to nobody";
    uncached(ran(check().env("VDEPLOY_CACHE", &theirs)), &theirs, why);
    // The default place.
    let compiled = place.dir("state/compiled", 0o777);
    set_mode(&place.state(), 0o700);
    uncached(ran(&mut check()), &compiled, "everybody");
}
