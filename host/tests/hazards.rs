//! docs/hazards.md has a row for every hazard, and every test that it names
//! is in the file that it names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A row of a table: its cells.
fn rows(section: &str) -> Vec<Vec<&str>> {
    section
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// The tests that a cell names, as file and name.
fn tests(cell: &str) -> Vec<(&str, &str)> {
    let spans = cell.split('`').skip(1).step_by(2);
    spans
        .map(|span| {
            span.split_once("::")
                .unwrap_or_else(|| panic!("`{span}` is no file::test"))
        })
        .collect()
}

/// Whether the source has a test of that name: a function with an attribute of
/// a test, a trial, or a row of a table of trials.
fn has_test(source: &str, name: &str) -> bool {
    let as_trial =
        source.contains(&format!("\"{name}\"")) || source.contains(&format!("::{name}\""));
    let function = format!("fn {name}()");
    let as_function = source.find(&function).is_some_and(|at| {
        let before = source[..at].trim_end().trim_end_matches("async").trim_end();
        before.ends_with(']') && before.rsplit("#[").next().unwrap_or("").contains("test")
    });
    as_trial || as_function
}

#[test]
fn every_hazard_has_a_row_with_its_tests() {
    let document = std::fs::read_to_string(top().join("docs/hazards.md")).unwrap();
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
    let document = std::fs::read_to_string(top().join("docs/hazards.md")).unwrap();
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
fn every_test_that_is_named_exists() {
    let document = std::fs::read_to_string(top().join("docs/hazards.md")).unwrap();
    let mut count = 0;
    for row in rows(&document) {
        let last = row[row.len() - 1];
        for (file, name) in tests(last) {
            count += 1;
            let source = std::fs::read_to_string(top().join(file))
                .unwrap_or_else(|error| panic!("{}: {file}: {error}", row[0]));
            assert!(
                has_test(&source, name),
                "{}: {file} has no test {name}",
                row[0]
            );
        }
    }
    assert!(count > 80, "only {count} tests are named");
}
