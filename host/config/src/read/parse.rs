//! Reads TOML tables key by key and collects every problem with its place.
//! Knows TOML and places; knows nothing of targets, plugins or plans.

use crate::read::nearest::did_you_mean;
use crate::read::span::{Place, Problem, Source};
use std::cell::RefCell;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use vdeploy_core::ids::is_name;

/// A value with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// What is wrong with one file, as far as it has been read.
#[derive(Debug)]
pub struct Problems {
    pub(crate) source: Source,
    found: RefCell<Vec<Problem>>,
}

impl Problems {
    /// Nothing is wrong yet.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            found: RefCell::new(Vec::new()),
        }
    }

    /// One more.
    pub fn add(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// All.
    pub fn into_vec(self) -> Vec<Problem> {
        self.found.into_inner()
    }

    /// Reads the document; syntax errors become problems and give nothing.
    pub fn parse<'t>(&self, text: &'t str) -> Option<DeTable<'t>> {
        match DeTable::parse(text) {
            Ok(table) => Some(table.into_inner()),
            Err(error) => {
                let offset = error.span().map_or(0, |s| s.start);
                self.add(Problem::at(
                    &self.source.place(offset),
                    format!("not valid TOML: {}", error.message()),
                ));
                None
            }
        }
    }
}

/// A table that is being read.
#[derive(Clone, Copy, Debug)]
pub struct TableReader<'d> {
    pub(crate) table: &'d DeTable<'d>,
    pub(crate) problems: &'d Problems,
    /// Offset of what names the table.
    pub(crate) offset: usize,
}

pub(crate) type Item<'d> = (
    &'d Spanned<std::borrow::Cow<'d, str>>,
    &'d Spanned<DeValue<'d>>,
);

impl<'d> TableReader<'d> {
    /// Reads the document's root.
    pub fn root(table: &'d DeTable<'d>, problems: &'d Problems) -> Self {
        Self {
            table,
            problems,
            offset: 0,
        }
    }

    /// Where the table is named.
    pub fn place(&self) -> Place {
        self.problems.source.place(self.offset)
    }

    /// Reports a problem with the table as a whole.
    pub fn problem(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report(Problem::at(&self.place(), message).help(help));
    }

    /// Reports a problem.
    pub fn report(&self, problem: Problem) {
        self.problems.add(problem);
    }

    /// Reports every key that is not in `known`. `what` names the table.
    pub fn only(&self, what: &str, known: &[&str]) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let place = self.problems.source.place(key.span().start);
                let help = did_you_mean(name, "known keys", known.iter().copied());
                self.report(
                    Problem::at(&place, format!("unknown key `{name}` in {what}")).help(help),
                );
            }
        }
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the key stands.
    pub fn place_of(&self, key: &str) -> Option<Place> {
        let (key, _) = self.table.get_key_value(key)?;
        Some(self.problems.source.place(key.span().start))
    }

    /// A string.
    pub fn string(&self, key: &str) -> Option<At<String>> {
        let value = self.table.get(key)?;
        self.as_string(&format!("`{key}`"), value)
    }

    /// A string that `read` understands; its error becomes a problem.
    pub fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let text = self.string(key)?;
        self.understand(&text, read)
    }

    /// A string of a fixed set of words.
    pub fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<At<T>> {
        self.read(key, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let all: Vec<String> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
                format!("`{key}` is \"{text}\"; write {}", all.join(" or "))
            })
        })
    }

    /// A boolean.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        let value = self.table.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            other => self.wrong_type(value, &format!("`{key}`"), "true or false", other),
        }
    }

    /// A whole number within `range`.
    pub fn number(&self, key: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.table.get(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            return self.wrong_type(
                value,
                &format!("`{key}`"),
                "a whole number",
                value.get_ref(),
            );
        };
        let read = integer(number).and_then(|n| u32::try_from(n).ok());
        match read {
            Some(n) if range.contains(&n) => Some(n),
            _ => {
                let place = self.problems.source.place(value.span().start);
                let (from, to) = (range.start(), range.end());
                self.report(Problem::at(
                    &place,
                    format!("`{key}` is {number}; it must be from {from} to {to}"),
                ));
                None
            }
        }
    }

    /// A list of strings; nothing when the key is not there.
    pub fn strings(&self, key: &str) -> Vec<At<String>> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type::<()>(
                value,
                &format!("`{key}`"),
                "a list of strings, as in [\"…\"]",
                value.get_ref(),
            );
            return Vec::new();
        };
        let what = format!("an item of `{key}`");
        items
            .iter()
            .filter_map(|item| self.as_string(&what, item))
            .collect()
    }

    /// One string or a list of strings; nothing when the key is not there.
    pub fn one_or_more(&self, key: &str) -> Vec<At<String>> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => self.string(key).into_iter().collect(),
            _ => self.strings(key),
        }
    }

    /// A string, or `false` for none of it.
    pub fn string_or_false(&self, key: &str) -> Option<Option<At<String>>> {
        let value = self.table.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(false) => Some(None),
            DeValue::String(_) => self.string(key).map(Some),
            other => self.wrong_type(value, &format!("`{key}`"), "a string or false", other),
        }
    }

    /// A list of strings, each understood by `read`.
    pub fn read_all<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<At<T>> {
        let items = self.strings(key);
        items
            .iter()
            .filter_map(|item| self.understand(item, &read))
            .collect()
    }

    /// A table inside this one.
    pub fn table(&self, key: &str) -> Option<TableReader<'d>> {
        let item = self.table.get_key_value(key)?;
        self.as_table(&format!("`{key}`"), item)
    }

    /// The tables of `[key.NAME]`, in the order of the file.
    pub fn named(&self, key: &str) -> Vec<(At<String>, TableReader<'d>)> {
        let Some(all) = self.table(key) else {
            return Vec::new();
        };
        let mut items: Vec<Item<'d>> = all.table.iter().collect();
        items.sort_by_key(|(k, _)| k.span().start);
        let mut named = Vec::new();
        for item in items {
            let name = item.0.get_ref().as_ref();
            let place = self.problems.source.place(item.0.span().start);
            if !is_name(name) {
                self.report(
                    Problem::at(&place, format!("`{name}` cannot be a name in [{key}]"))
                        .help("use letters, digits, `-` and `_`"),
                );
                continue;
            }
            if let Some(table) = self.as_table(&format!("`{key}.{name}`"), item) {
                let value = name.to_owned();
                named.push((At { value, place }, table));
            }
        }
        named
    }

    /// The tables of `[[key]]`.
    pub fn list(&self, key: &str) -> Vec<TableReader<'d>> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let what = "a list of tables, as in [[…]]";
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type::<()>(value, &format!("`{key}`"), what, value.get_ref());
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| match item.get_ref() {
                DeValue::Table(table) => Some(TableReader {
                    table,
                    problems: self.problems,
                    offset: item.span().start,
                }),
                other => self.wrong_type(item, &format!("an item of `{key}`"), "a table", other),
            })
            .collect()
    }

    fn as_string(&self, what: &str, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        match value.get_ref() {
            DeValue::String(text) => Some(At {
                value: text.to_string(),
                place: self.problems.source.place(value.span().start),
            }),
            other => self.wrong_type(value, what, "a string in quotes", other),
        }
    }

    fn as_table(&self, what: &str, (key, value): Item<'d>) -> Option<TableReader<'d>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(TableReader {
                table,
                problems: self.problems,
                offset: key.span().start,
            }),
            other => self.wrong_type(value, what, "a table", other),
        }
    }

    fn understand<T>(
        &self,
        text: &At<String>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        match read(&text.value) {
            Ok(value) => Some(At {
                value,
                place: text.place.clone(),
            }),
            Err(message) => {
                self.report(Problem::at(&text.place, message));
                None
            }
        }
    }

    fn wrong_type<T>(
        &self,
        value: &Spanned<DeValue<'_>>,
        what: &str,
        wanted: &str,
        found: &DeValue<'_>,
    ) -> Option<T> {
        let place = self.problems.source.place(value.span().start);
        let found = match found.type_str() {
            kind @ ("integer" | "array") => format!("an {kind}"),
            kind => format!("a {kind}"),
        };
        self.report(Problem::at(
            &place,
            format!("{what} must be {wanted}, not {found}"),
        ));
        None
    }
}

pub(crate) fn integer(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str, read: impl FnOnce(TableReader<'_>)) -> Vec<String> {
        let problems = Problems::new(Source::new("f", text));
        if let Some(table) = problems.parse(text) {
            read(TableReader::root(&table, &problems));
        }
        problems.into_vec().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let found = problems_of("a = 1\nb = = 2\n", |_| ());
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("f:2:5: not valid TOML: "),
            "{}",
            found[0]
        );
        let found = problems_of("a = 1\na = 2\n", |_| ());
        assert_eq!(found, ["f:2:1: not valid TOML: duplicate key"]);
    }

    #[test]
    fn every_wrong_type_is_reported_at_its_value() {
        let text = "s = 1\nb = \"x\"\nn = 1.5\nl = \"x\"\nm = [\"a\", 2]\nt = 3\nbig = 101\n";
        let found = problems_of(text, |t| {
            t.string("s");
            t.boolean("b");
            t.number("n", 1..=100);
            t.strings("l");
            assert_eq!(t.strings("m").len(), 1);
            t.table("t");
            t.list("t");
            t.number("big", 1..=100);
        });
        assert_eq!(
            found,
            [
                "f:1:5: `s` must be a string in quotes, not an integer",
                "f:2:5: `b` must be true or false, not a string",
                "f:3:5: `n` must be a whole number, not a float",
                "f:4:5: `l` must be a list of strings, as in [\"…\"], not a string",
                "f:5:11: an item of `m` must be a string in quotes, not an integer",
                "f:6:5: `t` must be a table, not an integer",
                "f:6:5: `t` must be a list of tables, as in [[…]], not an integer",
                "f:7:7: `big` is 101; it must be from 1 to 100",
            ]
        );
    }

    #[test]
    fn unknown_keys_show_the_nearest_known_one() {
        let found = problems_of("[x]\ntiemout = 1\nbanana = 1\n", |t| {
            t.table("x").unwrap().only("[x]", &["timeout", "id"]);
        });
        assert_eq!(
            found,
            [
                "f:3:1: unknown key `banana` in [x]\n  help: known keys: `timeout`, `id`",
                "f:2:1: unknown key `tiemout` in [x]\n  help: did you mean `timeout`?",
            ]
        );
    }

    #[test]
    fn headers_name_the_place_of_tables() {
        let text = "\n[a.one]\n[[b]]\n  [[b]]\n[a.two]\n";
        let problems = Problems::new(Source::new("f", text));
        let table = problems.parse(text).unwrap();
        let root = TableReader::root(&table, &problems);
        let named: Vec<String> = root
            .named("a")
            .iter()
            .map(|(name, t)| format!("{} {}", name.value, t.place()))
            .collect();
        assert_eq!(named, ["one f:2:4", "two f:5:4"]);
        let list: Vec<String> = root
            .list("b")
            .iter()
            .map(|t| t.place().to_string())
            .collect();
        assert_eq!(list, ["f:3:1", "f:4:3"]);
    }
}
