//! Where two JSON values differ. Pure.

use serde_json::Value;
use vdeploy_core::clean;

/// Most places shown.
const PLACES: usize = 8;
/// Most characters shown of a text.
const SHOWN: usize = 160;
/// Characters shown before the first difference.
const BEFORE: usize = 40;

/// For each place: its path, the recorded value, the value now.
pub fn lines(recorded: &Value, now: &Value) -> Vec<String> {
    let mut places = Vec::new();
    walk("", Some(recorded), Some(now), &mut places);
    let more = places.len().saturating_sub(PLACES);
    let mut lines: Vec<String> = places.into_iter().take(PLACES).flatten().collect();
    if more > 0 {
        lines.push(format!("and {more} more places"));
    }
    lines
}

pub fn short(value: &Value) -> String {
    cut(&value.to_string(), 0)
}

type Place = [String; 3];

fn walk(path: &str, recorded: Option<&Value>, now: Option<&Value>, places: &mut Vec<Place>) {
    match (recorded, now) {
        (a, b) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let new = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(new) {
                let dot = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{dot}{key}"), a.get(key), b.get(key), places);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                walk(&format!("{path}[{at}]"), a.get(at), b.get(at), places);
            }
        }
        (Some(Value::String(a)), Some(Value::String(b))) => places.push(texts(path, a, b)),
        (a, b) => {
            let shown = |value: Option<&Value>| match value {
                None => "(nothing)".to_owned(),
                Some(value) => cut(&value.to_string(), 0),
            };
            places.push(place(path, shown(a), shown(b)));
        }
    }
}

/// Shows the first line that differs.
fn texts(path: &str, a: &str, b: &str) -> Place {
    let (mut left, mut right) = (a.split('\n'), b.split('\n'));
    let mut number = 1;
    let (a, b, one_line) = loop {
        match (left.next(), right.next()) {
            (Some(x), Some(y)) if x == y => number += 1,
            (x, y) => {
                let last = left.next().is_none() && right.next().is_none();
                break (x, y, number == 1 && last);
            }
        }
    };
    let first = match (a, b) {
        (Some(a), Some(b)) => a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let shown = |line: Option<&str>| match line {
        None => "(nothing)".to_owned(),
        Some(line) => format!("{:?}", cut(line, first)),
    };
    match one_line {
        true => place(path, shown(a), shown(b)),
        false => {
            let path = format!("{}, line {number}", named(path));
            place(&path, shown(a), shown(b))
        }
    }
}

fn named(path: &str) -> &str {
    if path.is_empty() { "the whole" } else { path }
}

fn place(path: &str, a: String, b: String) -> Place {
    [
        format!("{}:", clean::line(named(path))),
        format!("  - {a}"),
        format!("  + {b}"),
    ]
}

/// The part of the text around its character number `first`.
fn cut(text: &str, first: usize) -> String {
    let text = clean::line(text);
    let length = text.chars().count();
    if length <= SHOWN {
        return text.into_owned();
    }
    let from = first.saturating_sub(BEFORE).min(length - SHOWN);
    let part: String = text.chars().skip(from).take(SHOWN).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if from + SHOWN < length { "…" } else { "" };
    format!("{before}{part}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_place_is_named_with_both_sides() {
        let recorded = json!({ "program": "git", "args": ["pull", "origin"], "cwd": null });
        let now = json!({ "program": "git", "args": ["fetch"], "cwd": "/x", "n": 1 });
        assert_eq!(
            lines(&recorded, &now),
            [
                "args[0]:",
                "  - \"pull\"",
                "  + \"fetch\"",
                "args[1]:",
                "  - \"origin\"",
                "  + (nothing)",
                "cwd:",
                "  - null",
                "  + \"/x\"",
                "n:",
                "  - (nothing)",
                "  + 1",
            ]
        );
        assert!(lines(&now, &now).is_empty());
    }

    #[test]
    fn a_long_text_shows_the_line_and_the_part_that_differ() {
        let script = |word: &str| json!({ "stdin": format!("set -eu\ncd app\n{word}\nexit\n") });
        assert_eq!(
            lines(&script("npm ci"), &script("npm install")),
            ["stdin, line 3:", "  - \"npm ci\"", "  + \"npm install\""]
        );
        let long = |word: &str| json!(format!("{}{word}{}", "a".repeat(500), "b".repeat(500)));
        let found = lines(&long("1"), &long("2"));
        assert_eq!(found[0], "the whole:");
        assert!(
            found[1].starts_with("  - \"…aaaa") && found[1].contains("a1b"),
            "{}",
            found[1]
        );
        assert!(found[1].ends_with("b…\"") && found[1].chars().count() < 180);
        let ends = lines(&json!("a\nb"), &json!("a"));
        assert_eq!(ends, ["the whole, line 2:", "  - \"b\"", "  + (nothing)"]);
    }

    #[test]
    fn many_places_are_counted() {
        let all = |n: usize| Value::from((0..20).map(|i| i * n).collect::<Vec<_>>());
        let found = lines(&all(2), &all(3));
        assert_eq!(found.len(), PLACES * 3 + 1);
        assert_eq!(found.last().unwrap(), "and 11 more places");
    }
}
