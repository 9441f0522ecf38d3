//! docs/hazards.md has a row for every hazard, and every test function that it
//! names exists. That its end-to-end trials (`a::b`) exist is seen where they
//! are: `document::trials-that-hazards-name-exist`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    std::fs::read_to_string(top().join("docs/hazards.md")).unwrap()
}

/// A row of a table: its cells.
fn rows(section: &str) -> Vec<Vec<&str>> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// The tests that a cell names.
fn tests(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// How often each test function is in the sources of the workspace.
fn test_functions() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut dirs: Vec<PathBuf> = ["host", "plugins", "tests", "xtask"]
        .map(|dir| top().join(dir))
        .into();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                dirs.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                for name in test_functions_of(&std::fs::read_to_string(path).unwrap()) {
                    *found.entry(name).or_default() += 1;
                }
            }
        }
    }
    found
}

/// The functions below an attribute of a test.
fn test_functions_of(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test) {
            names.extend(name.split('(').next().map(str::to_owned));
            is_test = false;
        }
    }
    names
}

#[test]
fn every_hazard_has_a_row_with_its_tests() {
    let document = document();
    let mut wanted: Vec<String> = (1..=50).map(|number| format!("H-{number}")).collect();
    wanted.insert(28, "H-28a".to_owned());
    wanted.insert(29, "H-28b".to_owned());
    let rows = rows(&document);
    let numbers: Vec<&str> = rows
        .iter()
        .map(|row| row[0])
        .filter(|first| first.starts_with("H-"))
        .collect();
    assert_eq!(numbers, wanted);
    for row in rows.iter().filter(|row| row[0].starts_with("H-")) {
        assert_eq!(row.len(), 4, "{row:?}");
        let honest = row[2].contains("**not covered**") || row[2].contains("**Not covered**");
        assert!(
            honest || !tests(row[3]).is_empty(),
            "{} names no test and does not say that it is not covered",
            row[0]
        );
    }
}

#[test]
fn every_pitfall_of_the_runbook_has_a_row() {
    let document = document();
    let section = document
        .split("\n## The runbook's pitfalls\n")
        .nth(1)
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = rows(section);
    // The head of the table, the line below it, and the six.
    assert_eq!(rows.len(), 8, "{rows:?}");
    for row in rows.iter().skip(2) {
        assert!(!tests(row[2]).is_empty(), "{} names no test", row[0]);
    }
}

#[test]
fn every_test_function_that_is_named_exists_once() {
    let document = document();
    let functions = test_functions();
    let mut count = 0;
    for row in rows(&document) {
        for name in tests(row[row.len() - 1]) {
            if name.contains("::") {
                continue;
            }
            count += 1;
            assert_eq!(functions.get(name), Some(&1), "{}: {name}", row[0]);
        }
    }
    assert!(count > 40, "only {count} test functions are named");
}
