//! The rules of ARCHITECTURE.md that Cargo does not enforce: who may print, who
//! may read the environment, what is pure; and that its table of crates is the
//! one of the manifests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};

/// Files that read the environment although their module may not, with why.
const MAY_READ_ENVIRONMENT: &[(&str, &str)] = &[
    (
        "local-cloud/cloud.rs",
        "sessions on local VMs have the PATH of this machine",
    ),
    (
        "ssh/testing/fixture.rs",
        "a test looks for the machine's sshd on the PATH",
    ),
    (
        "ssh/jobs/script_tests/variables.rs",
        "a test puts a directory before the PATH",
    ),
];

/// The doors to a screen, with why. All text passes one of them, so all text is
/// clean.
const MAY_PRINT: &[(&str, &str)] = &[
    ("cli/terminal.rs", "what commands say; cleans all of it"),
    (
        "cli/compiles.rs",
        "compiled code for the vdeploy that started this one",
    ),
    ("cli/output.rs", "asks whether there is a terminal"),
    ("report/sink.rs", "what reports say; cleans all of it"),
];

/// Files with `unsafe`, with why.
const MAY_BE_UNSAFE: &[(&str, &str)] = &[(
    "wasm/load/native.rs",
    "compiled code is loaded, after it was found to be this program's own",
)];

/// What a module without I/O cannot need.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::io",
    "std::thread",
    "SystemTime",
    "Instant",
    "tokio",
    "async ",
    ".await",
    "capability",
];

/// A source file: its path below `host` without `src`, the folder of its crate,
/// its code lines.
struct Source {
    path: String,
    name: String,
    /// Number from 1, and the line without comments and string contents.
    lines: Vec<(usize, String)>,
}

fn host() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The folders of the host's crates, in the order of their names.
fn crates() -> Vec<String> {
    let entries = std::fs::read_dir(host()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for name in crates() {
        let src = host().join(&name).join("src");
        let mut paths = Vec::new();
        files(&src, &mut paths);
        sources.extend(paths.iter().map(|path| source(path, &src, &name)));
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 100, "only {} files", sources.len());
    sources
}

fn source(path: &Path, src: &Path, name: &str) -> Source {
    let relative = Path::new(name).join(path.strip_prefix(src).unwrap());
    let text = std::fs::read_to_string(path).unwrap();
    Source {
        path: relative.display().to_string(),
        name: name.to_owned(),
        lines: code_lines(&text),
    }
}

/// The lines with code in them, without `//` comments and without what stands
/// in strings.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, code(line)))
        .filter(|(_, line)| !line.trim().is_empty())
        .collect()
}

fn code(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            // A quote as a character is no string.
            '\'' if !in_string && chars.peek() == Some(&'"') => {
                chars.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            c if !in_string => code.push(c),
            _ => {}
        }
    }
    code
}

fn violations(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn only_wasm_knows_wasmtime() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|s| s.name != "wasm") {
        for (number, line) in &source.lines {
            if line.contains("wasmtime") || line.contains("wasmparser") {
                problems.push(format!("{}:{number}: names wasmtime", source.path));
            }
        }
    }
    violations(problems);
}

#[test]
fn nothing_is_printed_but_through_a_door() {
    let words = [
        "println!",
        "print!",
        "dbg!",
        "std::io::stdout",
        "std::io::stderr",
        "io::stdout",
        "io::stderr",
        "/dev/tty",
    ];
    let mut problems = Vec::new();
    for source in sources() {
        let prints = source
            .lines
            .iter()
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        let prints: Vec<usize> = prints.map(|(number, _)| *number).collect();
        match MAY_PRINT.iter().find(|(path, _)| *path == source.path) {
            Some((path, why)) => assert!(!prints.is_empty(), "{path} is no door: {why}"),
            None => problems.extend(
                prints
                    .iter()
                    .map(|number| format!("{}:{number}: prints", source.path)),
            ),
        }
    }
    violations(problems);
}

#[test]
fn only_cli_reads_the_environment() {
    let words = ["std::env", "env::var", "env::current_dir", "env::args"];
    let mut problems = Vec::new();
    for source in sources() {
        let reads = source.lines.iter().filter(|(_, line)| {
            words.iter().any(|word| line.contains(word)) && !line.contains("env::consts")
        });
        let reads: Vec<usize> = reads.map(|(number, _)| *number).collect();
        let excuse = MAY_READ_ENVIRONMENT
            .iter()
            .find(|(path, _)| *path == source.path);
        match excuse {
            Some((path, why)) => assert!(!reads.is_empty(), "{path} needs no excuse: {why}"),
            None if source.name == "cli" => {}
            None => problems.extend(
                reads
                    .iter()
                    .map(|n| format!("{}:{n}: reads the environment", source.path)),
            ),
        }
    }
    violations(problems);
}

#[test]
fn plan_and_machine_are_pure() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for source in sources() {
        if !source.path.starts_with("core/plan") && source.path != "run/machine.rs" {
            continue;
        }
        seen += 1;
        for (number, line) in &source.lines {
            for word in IMPURE.iter().filter(|word| line.contains(*word)) {
                problems.push(format!("{}:{number}: `{}`", source.path, word.trim()));
            }
        }
    }
    assert!(seen >= 2);
    violations(problems);
}

#[test]
fn no_unsafe_code_and_no_global_state() {
    let words = [
        "unsafe ",
        "static mut ",
        "thread_local!",
        "OnceLock<",
        "LazyLock<",
    ];
    let mut problems = Vec::new();
    for source in sources() {
        for (number, line) in &source.lines {
            let excused = MAY_BE_UNSAFE.iter().any(|(path, _)| *path == source.path);
            let word = words.iter().find(|word| line.contains(*word));
            if let Some(word) = word.filter(|word| !(excused && **word == "unsafe ")) {
                problems.push(format!("{}:{number}: `{}`", source.path, word.trim()));
            }
        }
    }
    violations(problems);
}

/// The crates of the host that the manifest of `name` depends on.
fn dependencies(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(host().join(name).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let dependencies = manifest.get("dependencies").and_then(|d| d.as_table());
    let names = dependencies.into_iter().flat_map(|table| table.keys());
    names
        .filter_map(|name| name.strip_prefix("vdeploy-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_document_has_the_crates() {
    let text = std::fs::read_to_string(host().join("../ARCHITECTURE.md")).unwrap();
    let mut missing = Vec::new();
    for name in crates() {
        let mut uses = dependencies(&name);
        uses.sort();
        let uses: Vec<String> = uses.iter().map(|name| format!("`{name}`")).collect();
        let uses = match uses.is_empty() {
            true => "nothing".to_owned(),
            false => uses.join(", "),
        };
        let end = format!(" | {uses} |");
        let found = text
            .lines()
            .any(|line| line.starts_with(&format!("| `{name}` | ")) && line.ends_with(&end));
        if !found {
            missing.push(format!("ARCHITECTURE.md: | `{name}` | …{end}"));
        }
    }
    violations(missing);
}

#[test]
fn the_rules_see_what_they_look_for() {
    assert_eq!(code("let x = \"println! // no\"; // dbg!"), "let x = ; ");
    assert_eq!(code("c == '\"' && print"), "c == ' && print");
}
