//! Errors for programs: whatever fails under `--json` says so in one JSON object
//! on standard output. Held for every command that there is.

use crate::support::{Place, Ran, ran};
use clap::{Command, CommandFactory as _};
use serde_json::Value;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

/// A command that can be run: its words with something for each word that it
/// needs, and whether it has `--json`.
struct Leaf {
    words: Vec<String>,
    has_json: bool,
}

/// All of them, from the program's own definition.
fn leaves() -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(&vdeploy::Cli::command(), &[], &mut found);
    assert!(found.len() >= 18, "only {} commands", found.len());
    found
}

fn collect(command: &Command, above: &[String], found: &mut Vec<Leaf>) {
    let mut below = command.get_subcommands().peekable();
    if below.peek().is_some() {
        for sub in below {
            let mut words = above.to_vec();
            words.push(sub.get_name().to_owned());
            collect(sub, &words, found);
        }
        return;
    }
    let mut words = above.to_vec();
    for argument in command.get_arguments().filter(|a| a.is_required_set()) {
        if let Some(long) = argument.get_long() {
            words.push(format!("--{long}"));
        }
        words.push("1".to_owned());
    }
    // One of two, neither of which is needed by itself.
    if words.ends_with(&["prune".to_owned()]) {
        words.extend(["--keep", "1"].map(str::to_owned));
    }
    found.push(Leaf {
        words,
        has_json: command.get_arguments().any(|a| a.get_id() == "json"),
    });
}

/// The last line of standard output: the error, which agrees with the process.
#[track_caller]
fn error(words: &[String], ran: &Ran) -> Value {
    let last = ran.stdout.lines().last().unwrap_or_default();
    let value: Value = serde_json::from_str(last)
        .unwrap_or_else(|e| panic!("{words:?}: {e} in `{last}`\n{}", ran.stderr));
    assert_eq!(value["exit-code"], ran.code, "{words:?}: {value}");
    let message = value["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{words:?}: {value}");
    assert!(!message.contains('\u{1b}'), "{words:?}: {value}");
    assert!(!ran.stderr.is_empty() || value["type"] == "doctor-finished");
    value
}

fn call(place: &Place, words: &[String], more: &[&str]) -> Ran {
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    let mut command = place.command(&place.path("home"), &words);
    // A project that cannot be read, and a state directory that is not used.
    command.env("VDEPLOY_PROJECT", "missing.toml");
    command.env("VDEPLOY_STATE", place.dir("open", 0o777));
    ran(&mut command)
}

#[test]
fn a_command_that_fails_says_so() {
    let place = Place::new();
    let mut tried = 0;
    for leaf in leaves().iter().filter(|leaf| leaf.has_json) {
        let ran = call(&place, &leaf.words, &["--json"]);
        assert_ne!(ran.code, 0, "{:?} did not fail", leaf.words);
        let value = error(&leaf.words, &ran);
        if value["type"] != "doctor-finished" {
            assert_eq!(value["type"], "error", "{value}");
            assert!(value["code"].is_string(), "{value}");
        }
        tried += 1;
    }
    assert!(tried >= 10, "only {tried} commands have --json");
}

#[test]
fn words_that_make_no_sense_do_so_too() {
    let place = Place::new();
    for leaf in leaves() {
        for more in [
            &["--json", "--no-such-option"],
            &["--no-such-option", "--json"],
        ] {
            let value = error(&leaf.words, &call(&place, &leaf.words, more));
            assert_eq!(value["type"], "error", "{value}");
            assert_eq!(value["code"], "usage", "{value}");
            assert_eq!(value["exit-code"], 2, "{value}");
        }
        if !leaf.has_json {
            let value = error(&leaf.words, &call(&place, &leaf.words, &["--json"]));
            assert!(
                value["message"].as_str().unwrap().contains("--json"),
                "{value}"
            );
        }
    }
    let no_command = [String::from("--json")];
    error(&no_command, &call(&place, &no_command, &[]));
}

#[test]
fn without_it_standard_output_stays_empty() {
    let place = Place::new();
    for leaf in leaves() {
        // A checkup is what was asked for.
        if leaf.words == ["doctor"] || leaf.words == ["init"] {
            continue;
        }
        let ran = call(&place, &leaf.words, &[]);
        assert_ne!(ran.code, 0, "{:?} did not fail", leaf.words);
        assert_eq!(ran.stdout, "", "{:?}", leaf.words);
        assert!(
            ran.stderr.starts_with("error: "),
            "{:?}: {}",
            leaf.words,
            ran.stderr
        );
    }
}

#[test]
fn help_is_no_error() {
    let place = Place::new();
    for leaf in leaves() {
        let ran = call(&place, &leaf.words, &["--help", "--json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{:?}", leaf.words);
        assert!(ran.stdout.contains("Usage: "), "{:?}", leaf.words);
    }
}

/// Runs it on a terminal of its own and gives what the terminal got.
fn on_a_terminal(place: &Place, words: &str, variable: (&str, &str)) -> String {
    let program = env!("CARGO_BIN_EXE_vdeploy");
    let output = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command"])
        .arg(format!("'{program}' {words}"))
        .arg("/dev/null")
        .stdin(Stdio::null())
        .current_dir(place.path("home"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", place.path("home"))
        .env("TERM", "xterm")
        .env("VERS_API_KEY", "some-key")
        .env(variable.0, variable.1)
        .output()
        .expect("`script` of util-linux is needed");
    assert_eq!(output.status.signal(), None);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn diagnostics_have_no_colour_where_none_is_wanted() {
    let place = Place::new();
    // A platform that is not there: the host's own log says so.
    place.file(
        "home/vdeploy.toml",
        "[targets.a]\ntype = \"vers\"\nvm = \"12d4a14f-9338-4f29-842e-6432632dc4f5\"\n\
         host-key = \"first-use\"\napi-url = \"http://127.0.0.1:9\"\n",
        0o644,
    );
    let logs = "lease show --verbose";
    for words in ["run --no-such-option", "plan show nothing", logs] {
        let plain = on_a_terminal(&place, words, ("NO_COLOR", "1"));
        assert!(!plain.is_empty());
        assert!(!plain.contains('\u{1b}'), "{words}: {plain:?}");
        let dumb = on_a_terminal(&place, words, ("TERM", "dumb"));
        assert!(!dumb.contains('\u{1b}'), "{words}: {dumb:?}");
    }
    // Else there is some: the looks above can fail.
    for words in ["run --no-such-option", logs] {
        let coloured = on_a_terminal(&place, words, ("NO_COLOR", ""));
        assert!(coloured.contains('\u{1b}'), "{words}: {coloured:?}");
    }
}
