//! The rules of ARCHITECTURE.md that can be seen in the sources: which module
//! may use which, who may print, who may read the environment, what is pure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every module of the host, lowest first, with the modules that it may use.
/// A module uses only what stands above it here.
const LAYERS: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("backoff", &[]),
    ("resolve", &[]),
    ("tls", &[]),
    ("clean", &[]),
    ("ownership", &[]),
    ("openssh", &[]),
    ("local", &["ownership"]),
    ("target", &["ids"]),
    ("plan", &["ids"]),
    ("capability", &["ids", "clean", "target"]),
    ("event", &["ids", "capability"]),
    (
        "journal",
        &["ids", "ownership", "plan", "capability", "event"],
    ),
    ("gate", &["ids", "target", "capability", "event", "journal"]),
    ("plugin", &["ids", "clean", "capability", "event", "gate"]),
    (
        "run",
        &[
            "ids",
            "target",
            "plan",
            "capability",
            "event",
            "journal",
            "gate",
            "plugin",
        ],
    ),
    ("http", &["backoff", "resolve", "tls", "capability"]),
    (
        "ssh",
        &[
            "ids",
            "backoff",
            "resolve",
            "tls",
            "openssh",
            "target",
            "capability",
        ],
    ),
    (
        "vers",
        &[
            "ids",
            "backoff",
            "tls",
            "clean",
            "target",
            "capability",
            "http",
            "ssh",
        ],
    ),
    (
        "config",
        &["ids", "clean", "ownership", "plan", "capability"],
    ),
    (
        "report",
        &["ids", "clean", "plan", "capability", "event", "journal"],
    ),
    (
        "ops",
        &[
            "ids",
            "backoff",
            "tls",
            "ownership",
            "openssh",
            "local",
            "target",
            "plan",
            "capability",
            "event",
            "journal",
            "gate",
            "plugin",
            "run",
            "http",
            "ssh",
            "vers",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "ids",
            "clean",
            "ownership",
            "local",
            "plan",
            "capability",
            "event",
            "journal",
            "plugin",
            "run",
            "config",
            "report",
            "ops",
        ],
    ),
];

/// Files that read the environment although their module may not, with why.
const MAY_READ_ENVIRONMENT: &[(&str, &str)] = &[
    (
        "local/cloud.rs",
        "sessions on local VMs have the PATH of this machine",
    ),
    (
        "ssh/tests/fixture.rs",
        "a test looks for the machine's sshd on the PATH",
    ),
    (
        "ssh/job/script_tests/variables.rs",
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
    "plugin/native.rs",
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

/// A source file: its path below `src`, the module it is in, its code lines.
struct Source {
    path: String,
    module: String,
    /// Number from 1, and the line without comments and string contents.
    lines: Vec<(usize, String)>,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
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

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files(&src(), &mut paths);
    paths.sort();
    let sources: Vec<Source> = paths.iter().map(|path| source(path)).collect();
    assert!(sources.len() > 100, "only {} files", sources.len());
    sources
}

fn source(path: &Path) -> Source {
    let relative = path.strip_prefix(src()).unwrap();
    let module = relative.iter().next().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    Source {
        path: relative.display().to_string(),
        module: module.trim_end_matches(".rs").to_owned(),
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

/// The modules of the host that a line names by `crate::`.
fn used(line: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut found = BTreeSet::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap();
                found.extend(list.split(',').map(|item| word(item.trim())));
            }
            None => {
                found.insert(word(rest));
            }
        }
    }
    found.remove("");
    found
}

fn violations(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_layers_point_one_way() {
    for (index, (module, uses)) in LAYERS.iter().enumerate() {
        for used in *uses {
            assert!(
                LAYERS[..index].iter().any(|(lower, _)| lower == used),
                "`{module}` may use `{used}`, which does not stand before it"
            );
        }
    }
}

#[test]
fn modules_use_only_what_they_may() {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        // The roots: the module list, and the program.
        let allowed: &[&str] = match source.module.as_str() {
            "lib" | "main" => continue,
            module => match LAYERS.iter().find(|(name, _)| *name == module) {
                Some((name, uses)) => {
                    seen.insert(*name);
                    uses
                }
                None => {
                    problems.push(format!(
                        "src/{}: module `{module}` has no place in LAYERS",
                        source.path
                    ));
                    continue;
                }
            },
        };
        for (number, line) in &source.lines {
            for used in used(line) {
                if used != source.module && !allowed.contains(&used.as_str()) {
                    problems.push(format!(
                        "src/{}:{number}: `{}` may not use `{used}`",
                        source.path, source.module
                    ));
                }
            }
        }
    }
    violations(problems);
    let all: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(seen, all, "LAYERS has a module that is not there");
}

/// `super::super` cannot lead around the rule above.
#[test]
fn no_path_climbs_out_of_its_module() {
    let mut problems = Vec::new();
    for source in sources() {
        let depth = Path::new(&source.path).iter().count();
        for (number, line) in &source.lines {
            let supers = line
                .split("super::")
                .skip(1)
                .fold((0, 0), |(most, run), rest| {
                    let run = run + 1;
                    (most.max(run), if rest.is_empty() { run } else { 0 })
                })
                .0;
            // One more than the depth of the file, for a module inside it.
            if supers > depth {
                problems.push(format!(
                    "src/{}:{number}: {supers} times `super`",
                    source.path
                ));
            }
        }
    }
    violations(problems);
}

#[test]
fn only_plugin_knows_wasmtime() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|s| s.module != "plugin") {
        for (number, line) in &source.lines {
            if line.contains("wasmtime") || line.contains("wasmparser") {
                problems.push(format!("src/{}:{number}: names wasmtime", source.path));
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
            Some((path, why)) => assert!(!prints.is_empty(), "src/{path} is no door: {why}"),
            None => problems.extend(
                prints
                    .iter()
                    .map(|number| format!("src/{}:{number}: prints", source.path)),
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
            Some((path, why)) => assert!(!reads.is_empty(), "src/{path} needs no excuse: {why}"),
            None if source.module == "cli" => {}
            None => problems.extend(
                reads
                    .iter()
                    .map(|n| format!("src/{}:{n}: reads the environment", source.path)),
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
        if source.module != "plan" && source.path != "run/machine.rs" {
            continue;
        }
        seen += 1;
        for (number, line) in &source.lines {
            for word in IMPURE.iter().filter(|word| line.contains(*word)) {
                problems.push(format!("src/{}:{number}: `{}`", source.path, word.trim()));
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
                problems.push(format!("src/{}:{number}: `{}`", source.path, word.trim()));
            }
        }
    }
    violations(problems);
}

#[test]
fn the_document_has_the_layers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut missing = Vec::new();
    for (module, uses) in LAYERS {
        let uses: Vec<String> = uses.iter().map(|name| format!("`{name}`")).collect();
        let uses = match uses.is_empty() {
            true => "nothing".to_owned(),
            false => uses.join(", "),
        };
        let end = format!(" | {uses} |");
        let found = text
            .lines()
            .any(|line| line.starts_with(&format!("| `{module}` | ")) && line.ends_with(&end));
        if !found {
            missing.push(format!("ARCHITECTURE.md: | `{module}` | …{end}"));
        }
    }
    violations(missing);
}

#[test]
fn the_rules_see_what_they_look_for() {
    assert_eq!(
        used("use crate::{gate, run::x}; crate::cli::y()"),
        ["cli", "gate", "run"].map(str::to_owned).into()
    );
    assert_eq!(
        code("let x = \"crate::cli // no\"; // crate::cli"),
        "let x = ; "
    );
    assert_eq!(code("c == '\"' && crate::cli"), "c == ' && crate::cli");
}
