//! The whole test suite: the end-to-end trials, which mostly wait, and beside
//! them every other test program, one after the other. At the end the slowest
//! tests of all are named.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{self, heading};
use crate::workspace::Workspace;

/// The program with the end-to-end trials.
const TRIALS: &str = "trials";
/// Where it writes the seconds and the name of each.
const TIMES: &str = "VDEPLOY_TEST_TIMES";
/// How many of the slowest tests are named.
const NAMED: usize = 10;

/// A program that cargo has built of tests.
struct Program {
    name: String,
    file: PathBuf,
    /// Of its package, where cargo runs it.
    dir: PathBuf,
}

/// How long a test took, and its name.
type Time = (f64, String);

/// What came of a program.
struct Ended {
    name: String,
    passed: bool,
    times: Vec<Time>,
}

/// Runs every test; with `all` those too that are not in the short run.
///
/// # Errors
/// When the tests do not build, or one fails.
pub fn run(workspace: &Workspace, all: bool) -> Result<()> {
    let (mut trials, others): (Vec<_>, Vec<_>) = built(workspace)?
        .into_iter()
        .partition(|program| program.name == TRIALS);
    let trials = trials.pop().context("no program with trials was built")?;
    let began = Instant::now();
    let terminal = Mutex::new(());
    let (first, beside) = thread::scope(|scope| {
        let first = scope.spawn(|| run_trials(&trials, all, &terminal));
        let beside = scope.spawn(|| -> Result<Vec<Ended>> {
            let others = others.iter().map(|one| run_tests(one, all, &terminal));
            let mut ended = others.collect::<Result<Vec<_>>>()?;
            ended.push(documentation(workspace, &terminal)?);
            Ok(ended)
        });
        (first.join(), beside.join())
    });
    let panicked = |_| anyhow::anyhow!("a thread panicked");
    let mut ended = beside.map_err(panicked)??;
    ended.push(first.map_err(panicked)??);
    report(&ended, began.elapsed());
    let failed: Vec<&str> = ended
        .iter()
        .filter(|ended| !ended.passed)
        .map(|ended| ended.name.as_str())
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("tests have failed in {}", failed.join(", ")),
    }
}

/// What `cargo test` would run, built.
fn built(workspace: &Workspace) -> Result<Vec<Program>> {
    let text = command::output(command::cargo(&workspace.root).args([
        "test",
        "--locked",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]))?;
    let messages = text.lines().map(serde_json::from_str);
    let messages = messages.collect::<Result<Vec<Value>, _>>()?;
    Ok(messages.iter().filter_map(program).collect())
}

/// The test program of which a message of cargo tells.
fn program(message: &Value) -> Option<Program> {
    let is_test = message.pointer("/profile/test")?.as_bool()?;
    let word = |pointer: &str| Some(message.pointer(pointer)?.as_str()?.to_owned());
    let file = PathBuf::from(word("/executable")?);
    let manifest = PathBuf::from(word("/manifest_path")?);
    is_test.then_some(Program {
        name: word("/target/name")?,
        file,
        dir: manifest.parent()?.to_owned(),
    })
}

fn command(program: &Program, all: bool) -> Command {
    let mut command = Command::new(&program.file);
    command
        .current_dir(&program.dir)
        .env("CARGO_MANIFEST_DIR", &program.dir);
    if all {
        command.arg("--include-ignored");
    }
    command
}

/// Prints what they print at once: they take as long as all else.
fn run_trials(program: &Program, all: bool, terminal: &Mutex<()>) -> Result<Ended> {
    let times = tempfile::NamedTempFile::new()?;
    let mut child = command(program, all)
        .env(TIMES, times.path())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| program.file.display().to_string())?;
    let stdout = child.stdout.take().context("no stdout")?;
    for line in BufReader::new(stdout).lines() {
        print(&line?, terminal);
    }
    let passed = child.wait()?.success();
    let text = std::fs::read_to_string(times.path())?;
    let time = |line: &str| {
        let (seconds, name) = line.trim().split_once(' ')?;
        Some((seconds.parse().ok()?, name.to_owned()))
    };
    Ok(Ended {
        name: program.name.clone(),
        passed,
        times: text.lines().filter_map(time).collect(),
    })
}

/// Prints what it prints when it has ended, in one piece.
fn run_tests(program: &Program, all: bool, terminal: &Mutex<()>) -> Result<Ended> {
    let mut command = command(program, all);
    // The standard harness tells times only where its unstable options are
    // allowed; this allows them.
    command
        .args(["-Z", "unstable-options", "--report-time"])
        .env("RUSTC_BOOTSTRAP", "1");
    ended(program.name.clone(), &mut command, terminal)
}

/// The examples in the documentation, which rustdoc compiles and runs itself.
fn documentation(workspace: &Workspace, terminal: &Mutex<()>) -> Result<Ended> {
    let mut command = command::cargo(&workspace.root);
    command.args(["test", "--locked", "--workspace", "--doc", "--quiet"]);
    ended("documentation".to_owned(), &mut command, terminal)
}

fn ended(name: String, command: &mut Command, terminal: &Mutex<()>) -> Result<Ended> {
    let (mut reader, writer) = std::io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| name.clone())?;
    // The command keeps the other end of the pipe open until it is given new ones.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    print(&format!("\n{name}:{}", text.trim_end()), terminal);
    Ok(Ended {
        passed: child.wait()?.success(),
        times: text.lines().filter_map(|line| time(&name, line)).collect(),
        name,
    })
}

/// `test NAME ... ok <SECONDSs>`
fn time(program: &str, line: &str) -> Option<Time> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let (_, seconds) = rest.strip_suffix("s>")?.split_once('<')?;
    Some((seconds.parse().ok()?, format!("{program}: {name}")))
}

fn print(text: &str, terminal: &Mutex<()>) {
    let _whole = terminal.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{text}");
}

fn report(ended: &[Ended], took: Duration) {
    let mut times: Vec<&Time> = ended.iter().flat_map(|ended| &ended.times).collect();
    times.sort_by(|one, other| other.0.total_cmp(&one.0));
    heading(&format!(
        "{} tests in {} s; the slowest, in seconds:",
        times.len(),
        took.as_secs()
    ));
    for (seconds, name) in times.iter().take(NAMED) {
        eprintln!("{seconds:7.1} {name}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_time_of_a_test_is_read_from_its_line() {
        let line = "test gate::a_look ... ok <1.250s>";
        assert_eq!(
            time("lib", line),
            Some((1.25, "lib: gate::a_look".to_owned()))
        );
        for other in ["test gate::a_look ... ignored", "running 3 tests", ""] {
            assert_eq!(time("lib", other), None, "{other}");
        }
    }

    #[test]
    fn a_test_program_is_what_cargo_built_as_a_test() {
        let message = |test: bool| {
            json!({
                "reason": "compiler-artifact",
                "manifest_path": "/w/host/cli/Cargo.toml",
                "target": { "name": "gate" },
                "profile": { "test": test },
                "executable": "/w/target/debug/deps/gate-1",
            })
        };
        let found = program(&message(true)).unwrap();
        assert_eq!(
            (found.name.as_str(), found.dir.as_path()),
            ("gate", Path::new("/w/host/cli"))
        );
        assert!(program(&message(false)).is_none());
        assert!(program(&json!({ "reason": "build-finished", "success": true })).is_none());
    }
}
