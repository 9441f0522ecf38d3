//! The documents say what the code does: exit codes, configuration keys,
//! events, examples, commands and links.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use clap::Parser as _;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use vdeploy::{Cli, ExitCode};
use vdeploy_config::Project;
use vdeploy_config::builtin::BUILTIN_PLUGINS;

/// The documents for people at the top of the repository.
const AT_THE_TOP: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "GLOSSARY.md",
    "SECURITY.md",
];

/// Every document for people, from the top of the repository.
fn documents() -> Vec<String> {
    let mut pages: Vec<String> = std::fs::read_dir(top().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| format!("docs/{name}"))
        .collect();
    pages.sort_unstable();
    assert!(pages.len() > 20, "{pages:?}");
    pages.extend(AT_THE_TOP.map(str::to_owned));
    pages
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A fenced block: its language, its first line's number, its text without
/// the indentation of the fence.
struct Block {
    language: String,
    line: usize,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (index, line) in document.lines().enumerate() {
        let bare = line.trim_start();
        match (&mut open, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                let block = Block {
                    language: language.to_owned(),
                    line: index + 2,
                    text: String::new(),
                };
                open = Some((line.len() - bare.len(), block));
            }
            (Some(_), Some("")) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), _) => {
                let _ = writeln!(block.text, "{}", line.get(*indent..).unwrap_or_default());
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The text from the heading `## NAME` to the next one of that level.
fn section<'t>(document: &'t str, name: &str) -> &'t str {
    let heading = format!("\n## {name}\n");
    let start = document
        .find(&heading)
        .unwrap_or_else(|| panic!("no heading `## {name}`"));
    let rest = &document[start + heading.len()..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

#[test]
fn the_exit_codes_are_documented() {
    let rows = ExitCode::ALL.map(|exit| format!("| {} | {} |\n", exit.code(), exit.meaning()));
    let table = format!("| code | meaning |\n|---:|---|\n{}", rows.concat());
    assert!(
        read("docs/exit-codes.md").contains(&table),
        "docs/exit-codes.md must have this table:\n{table}"
    );
}

#[test]
fn the_readme_is_one_page_and_the_index_names_every_page() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "README.md has {lines} lines");
    let index = read("docs/README.md");
    for document in documents() {
        let Some(page) = document.strip_prefix("docs/") else {
            continue;
        };
        assert!(
            page == "README.md" || index.contains(&format!("]({page})")),
            "docs/README.md does not link {page}"
        );
    }
}

/// Not held to short sentences yet.
const LONG: [&str; 3] = [
    "ARCHITECTURE.md",
    "docs/failure-modes.md",
    "docs/hazards.md",
];

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Sentences and table cells of a document without its blocks.
fn sentences(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = String::new();
    let mut in_block = false;
    for line in document.lines().chain([""]) {
        let bare = line.trim();
        let is_fence = bare.starts_with("```");
        let (marker, rest) = bare.split_once(' ').unwrap_or((bare, ""));
        let is_item = marker == "-" || marker.strip_suffix('.').is_some_and(is_number);
        let is_row = bare.starts_with('|');
        if is_fence || is_row || is_item || bare.is_empty() || bare.starts_with('#') {
            let mut sentence = String::new();
            for word in open.split_whitespace() {
                sentence.push_str(word);
                sentence.push(' ');
                if word.ends_with(['.', '!', '?', ':']) {
                    found.push(std::mem::take(&mut sentence));
                }
            }
            if !sentence.is_empty() {
                found.push(sentence);
            }
            open.clear();
        }
        in_block ^= is_fence;
        if in_block || is_fence {
            continue;
        }
        if is_row {
            found.extend(bare.replace("\\|", "").split('|').map(str::to_owned));
        } else {
            open.push(' ');
            open.push_str(if is_item { rest } else { bare });
        }
    }
    found
}

#[test]
fn no_sentence_and_no_cell_is_longer_than_40_words() {
    let mut problems = Vec::new();
    for document in documents() {
        if LONG.contains(&document.as_str()) {
            continue;
        }
        for sentence in sentences(&read(&document)) {
            let words = sentence.split_whitespace().count();
            if words > 40 {
                problems.push(format!("{document}: {words} words: {sentence}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let long = sentences(&format!("- {}.", "word ".repeat(41)));
    assert_eq!(long.first().unwrap().split_whitespace().count(), 42);
}

#[test]
fn every_example_of_a_project_file_is_one() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for block in blocks(&text).iter().filter(|b| b.language == "toml") {
            count += 1;
            // The examples build on each other: what one uses, another defines.
            let mut example = block.text.clone();
            if example.contains("plugin = \"my-") {
                example.push_str("\n[plugins.my-check]\npath = \"my-check.wasm\"\n");
            }
            if let Err(error) = Project::from_text("example", &example, Path::new(".")) {
                panic!("{document}:{}: {error}\n{}", block.line, block.text);
            }
        }
    }
    assert!(count >= 12, "only {count} examples were found");
}

#[test]
fn every_command_can_be_typed() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for block in blocks(&text).iter().filter(|b| b.language == "sh") {
            for (offset, line) in block.text.lines().enumerate() {
                let place = format!("{document}:{}", block.line + offset);
                if line.starts_with("export ") || line.is_empty() {
                    continue;
                }
                assert!(line.starts_with("vdeploy "), "{place}: {line}");
                count += 1;
                if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
                    panic!("{place}: {error}");
                }
            }
        }
    }
    assert!(count >= 10, "only {count} commands were found");
}

/// One row of a table of configuration keys.
fn row(key: &str, property: &Value) -> String {
    let text = |name: &str| property.get(name).and_then(Value::as_str);
    let kind = match (property.get("enum").and_then(Value::as_array), text("type")) {
        (Some(values), _) => {
            let values: Vec<String> = values.iter().map(|v| format!("`{v}`")).collect();
            values.join(" or ")
        }
        (None, Some("array")) => match property["items"]["type"].as_str() {
            Some("object") => "list of tables".to_owned(),
            Some(item) => format!("list of {item}s"),
            None => "list".to_owned(),
        },
        (None, Some(kind)) => kind.to_owned(),
        (None, None) => "any".to_owned(),
    };
    let range = match (property.get("minimum"), property.get("maximum")) {
        (Some(from), Some(to)) => format!(", {from} to {to}"),
        (Some(from), None) => format!(", from {from}"),
        _ => String::new(),
    };
    let default = property
        .get("default")
        .map(|default| format!("`{default}`").replace('|', "\\|"))
        .unwrap_or_default();
    let meaning = text("description").unwrap_or_default().replace('|', "\\|");
    format!("| `{key}` | {kind}{range} | {default} | {meaning} |")
}

#[test]
fn the_built_in_plan_has_every_key_of_every_plugin() {
    let document = read("docs/built-in-plan.md");
    for plugin in BUILTIN_PLUGINS {
        let manifest = read(&format!("plugins/{plugin}/plugin.toml"));
        let manifest: toml::Table = manifest.parse().unwrap();
        let manifest = serde_json::to_value(manifest).unwrap();
        let properties = manifest["config"]["properties"].as_object().unwrap();
        let section = section(&document, plugin);
        let wanted: Vec<String> = properties.iter().map(|(k, p)| row(k, p)).collect();
        for wanted in &wanted {
            assert!(
                section.lines().any(|line| line == wanted),
                "docs/built-in-plan.md, `## {plugin}` must have this line:\n{wanted}"
            );
        }
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(
            rows.count(),
            wanted.len(),
            "docs/built-in-plan.md, `## {plugin}` has keys that do not exist"
        );
    }
}

/// `RunStarted` to `run-started`, `dry_run` to `dry-run`.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            'A'..='Z' => {
                if !out.is_empty() {
                    out.push('-');
                }
                out.push(c.to_ascii_lowercase());
            }
            '_' => out.push('-'),
            c => out.push(c),
        }
    }
    out
}

/// The variants of an enum with their members, as the source declares them.
fn variants(path: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let source = read(path);
    let start = format!("pub enum {name} {{");
    let (_, body) = source.split_once(&start).unwrap();
    let mut events: Vec<(String, Vec<String>)> = Vec::new();
    for line in body.lines().take_while(|line| *line != "}") {
        let bare = line.trim_start();
        if bare.starts_with("//") || bare.starts_with('#') {
            continue;
        }
        match line.len() - bare.len() {
            4 => {
                if let Some(name) = bare.strip_suffix(" {") {
                    events.push((kebab(name), Vec::new()));
                }
            }
            8 => {
                let (name, _) = bare.split_once(':').unwrap();
                events.last_mut().unwrap().1.push(kebab(name));
            }
            _ => {}
        }
    }
    assert!(events.len() > 10, "{events:?}");
    events
}

/// The document has a row for each, with every member.
fn rows(document: &str, variants: &[(String, Vec<String>)]) {
    let text = read(document);
    for (name, members) in variants {
        let start = format!("| `{name}` | ");
        let row = text
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("{document} has no row for `{name}`"));
        for member in members {
            assert!(
                row.contains(&format!("`{member}`")),
                "{document}: the row of `{name}` does not name `{member}`"
            );
        }
    }
}

#[test]
fn every_event_and_member_is_documented() {
    let events = variants("host/core/src/event/run_event.rs", "RunEvent");
    rows("docs/events.md", &events);
}

#[test]
fn every_entry_of_the_journal_is_documented() {
    let entries = variants("host/journal/src/entry.rs", "Entry");
    rows("docs/recordings.md", &entries);
}

#[test]
fn the_plugin_that_is_built_from_zero_is_the_fixture() {
    let fixture = "tests/fixtures/plugins/version-check";
    let code = read(&format!("{fixture}/src/lib.rs"));
    let manifest = read(&format!("{fixture}/plugin.toml"));
    let document = read("docs/plugins.md");
    let blocks = blocks(&document);
    let rust: Vec<&Block> = blocks.iter().filter(|b| b.language == "rust").collect();
    assert_eq!(rust.len(), 2);
    for block in rust {
        assert!(
            code.contains(&block.text),
            "docs/plugins.md:{} is not in {fixture}/src/lib.rs",
            block.line
        );
    }
    let shown = blocks.iter().any(|block| block.text.contains(&manifest));
    assert!(shown, "docs/plugins.md does not have {fixture}/plugin.toml");
}

#[test]
fn every_link_leads_somewhere() {
    let mut problems = Vec::new();
    for document in documents() {
        let text = read(&document);
        let dir = top().join(&document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => top().join(&document),
                file => dir.join(file),
            };
            let Ok(target) = std::fs::read_to_string(&path) else {
                problems.push(format!("{document}: {link}: no such file"));
                continue;
            };
            let anchors = target.lines().filter(|line| line.starts_with('#'));
            // As GitHub makes them.
            let mut anchors = anchors.map(|line| {
                let words = line.trim_start_matches('#').trim().to_lowercase();
                let mut anchor = words.replace(' ', "-");
                anchor.retain(|c| c.is_alphanumeric() || c == '-' || c == '_');
                anchor
            });
            if !anchor.is_empty() && !anchors.any(|found| found == anchor) {
                problems.push(format!("{document}: {link}: no such heading"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The sources of the host, as one text.
fn host_sources(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            host_sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_point_of_the_platform_has_its_test() {
    let mut sources = String::new();
    host_sources(&top().join("host"), &mut sources);
    let document = read("docs/vers-platform.md");
    for point in 1..=23 {
        let start = format!("| C-{point} | ");
        let row = document
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("docs/vers-platform.md has no row C-{point}"));
        let test = row.split('`').rev().nth(1).unwrap();
        assert!(test.contains(&format!("c{point:02}_")), "C-{point}: {test}");
        assert!(sources.contains(&format!("fn {test}()")), "no test {test}");
    }
}
