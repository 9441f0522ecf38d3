//! TOML values as JSON, with the place of every value.

use crate::read::parse::{Item, Problems, TableReader, integer};
use crate::read::span::{Place, Problem, Source};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Places of the values inside a configuration, by JSON pointer; `""` is the
/// whole.
pub type Pointers = BTreeMap<String, Place>;

impl<'d> TableReader<'d> {
    /// A table as JSON, with the place of every value in it.
    pub fn json(&self, key: &str) -> Option<(Map<String, Value>, Pointers)> {
        let table = self.table(key)?;
        let mut pointers = Pointers::new();
        pointers.insert(String::new(), table.place());
        let map = table.json_map("", &mut pointers);
        Some((map, pointers))
    }

    fn json_map(&self, pointer: &str, pointers: &mut Pointers) -> Map<String, Value> {
        let mut items: Vec<Item<'d>> = self.table.iter().collect();
        items.sort_by_key(|(k, _)| k.span().start);
        let mut map = Map::new();
        for (key, value) in items {
            let name = key.get_ref().as_ref();
            let pointer = below(pointer, name);
            pointers.insert(
                pointer.clone(),
                self.problems.source.place(key.span().start),
            );
            if let Some(value) = self.json_value(value, &pointer, pointers) {
                map.insert(name.to_owned(), value);
            }
        }
        map
    }

    fn json_value(
        &self,
        value: &'d Spanned<DeValue<'d>>,
        pointer: &str,
        pointers: &mut Pointers,
    ) -> Option<Value> {
        match value.get_ref() {
            DeValue::Table(table) => {
                let reader = TableReader {
                    table,
                    offset: value.span().start,
                    ..*self
                };
                Some(Value::Object(reader.json_map(pointer, pointers)))
            }
            DeValue::Array(items) => {
                let mut out = Vec::new();
                for (n, item) in items.iter().enumerate() {
                    let pointer = format!("{pointer}/{n}");
                    let place = self.problems.source.place(item.span().start);
                    pointers.insert(pointer.clone(), place);
                    out.push(self.json_value(item, &pointer, pointers)?);
                }
                Some(Value::Array(out))
            }
            plain => match json_scalar(plain) {
                Ok(json) => Some(json),
                Err(message) => {
                    let place = self.problems.source.place(value.span().start);
                    self.report(Problem::at(&place, message));
                    None
                }
            },
        }
    }
}

/// A TOML value without tables inside as JSON, for values given on the
/// command line. None when `text` is no TOML value that JSON has.
pub fn json_of_toml(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    let problems = Problems::new(Source::new("", ""));
    let empty = DeTable::new();
    let json = TableReader::root(&empty, &problems).json_value(&value, "", &mut Pointers::new());
    drop(empty);
    json
}

/// The JSON pointer of a member.
pub(crate) fn below(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn json_scalar(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::String(text.to_string())),
        DeValue::Boolean(b) => Ok(Value::Bool(*b)),
        DeValue::Integer(number) => integer(number)
            .map(Value::from)
            .ok_or_else(|| format!("{number} is too large")),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("{number} cannot be used here; write a finite number")),
        DeValue::Datetime(date) => Err(format!("{date} is a date; write it in quotes")),
        DeValue::Array(_) | DeValue::Table(_) => Err("not a plain value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_keeps_order_and_knows_its_places() {
        let text = "[c]\nz = 1\na = [true, {x = 0x10}]\n\"k/1\" = 1.5\nd = 2020-01-01\n";
        let problems = Problems::new(Source::new("f", text));
        let table = problems.parse(text).unwrap();
        let (map, pointers) = TableReader::root(&table, &problems).json("c").unwrap();
        assert_eq!(
            serde_json::to_string(&map).unwrap(),
            r#"{"z":1,"a":[true,{"x":16}],"k/1":1.5}"#
        );
        let at = |p: &str| pointers[p].to_string();
        assert_eq!(at(""), "f:1:2");
        assert_eq!(at("/a/1/x"), "f:3:13");
        assert_eq!(at("/k~11"), "f:4:1");
        let found: Vec<String> = problems.into_vec().iter().map(Problem::to_string).collect();
        assert_eq!(found, ["f:5:5: 2020-01-01 is a date; write it in quotes"]);
    }

    #[test]
    fn a_value_from_the_command_line_is_toml_or_nothing() {
        assert_eq!(json_of_toml("3001"), Some(json!(3001)));
        assert_eq!(
            json_of_toml("[\"a\", {b = 1}]"),
            Some(json!(["a", {"b": 1}]))
        );
        assert_eq!(json_of_toml("main"), None);
        assert_eq!(json_of_toml("inf"), None);
        assert_eq!(json_of_toml("1\nx = 2"), None);
    }
}
