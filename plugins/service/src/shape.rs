//! The shape of a JSON document, as written in a plan:
//! `array | {events: array, count: number}`. Pure.
//!
//! | shape | matches |
//! |---|---|
//! | `any`, `null`, `boolean`, `number`, `string`, `array`, `object` | that kind of value |
//! | `[SHAPE]` | an array whose elements all match |
//! | `{KEY: SHAPE, KEY}` | an object with at least these keys; a bare key takes any value |
//! | `SHAPE \| SHAPE` | either |
//!
//! This module must not know HTTP or any endpoint.

use std::fmt;

use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Any,
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
    /// Every element matches.
    Each(Box<Shape>),
    /// At least these keys.
    Keys(Vec<(String, Shape)>),
    Either(Vec<Shape>),
}

impl Shape {
    /// # Errors
    /// What was expected, and where in the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        let shape = parser.either()?;
        match parser.rest() {
            "" => Ok(shape),
            rest => Err(format!("`{rest}` follows a complete shape in `{text}`")),
        }
    }

    /// # Errors
    /// The first difference: where, expected and found.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        self.check_at(value, "the body")
    }

    fn check_at(&self, value: &Value, place: &str) -> Result<(), String> {
        let matches = match (self, value) {
            (Shape::Any, _)
            | (Shape::Null, Value::Null)
            | (Shape::Boolean, Value::Bool(_))
            | (Shape::Number, Value::Number(_))
            | (Shape::String, Value::String(_))
            | (Shape::Array, Value::Array(_))
            | (Shape::Object, Value::Object(_)) => true,
            (Shape::Each(shape), Value::Array(elements)) => {
                for (index, element) in elements.iter().enumerate() {
                    shape.check_at(element, &format!("{place}[{index}]"))?;
                }
                true
            }
            (Shape::Keys(keys), Value::Object(object)) => {
                for (key, shape) in keys {
                    match object.get(key) {
                        Some(value) => shape.check_at(value, &format!("{place}.{key}"))?,
                        None => {
                            let found: Vec<&str> = object.keys().map(String::as_str).collect();
                            return Err(format!(
                                "{place} has no key `{key}`, only: {}",
                                found.join(", ")
                            ));
                        }
                    }
                }
                true
            }
            (Shape::Either(shapes), _) => shapes
                .iter()
                .any(|shape| shape.check_at(value, place).is_ok()),
            _ => false,
        };
        if matches {
            return Ok(());
        }
        Err(format!("{place} is {}, not {self}", describe(value)))
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(object) => {
            let keys: Vec<&str> = object.keys().map(String::as_str).collect();
            format!("an object with the keys: {}", keys.join(", "))
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Any => f.write_str("any"),
            Shape::Null => f.write_str("null"),
            Shape::Boolean => f.write_str("boolean"),
            Shape::Number => f.write_str("number"),
            Shape::String => f.write_str("string"),
            Shape::Array => f.write_str("array"),
            Shape::Object => f.write_str("object"),
            Shape::Each(shape) => write!(f, "[{shape}]"),
            Shape::Keys(keys) => {
                let keys: Vec<String> = keys.iter().map(|(k, s)| format!("{k}: {s}")).collect();
                write!(f, "{{{}}}", keys.join(", "))
            }
            Shape::Either(shapes) => {
                let shapes: Vec<String> = shapes.iter().map(ToString::to_string).collect();
                f.write_str(&shapes.join(" | "))
            }
        }
    }
}

/// Deeper shapes are refused, so that a plan cannot exhaust the stack.
const DEEPEST: usize = 32;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            return Ok(());
        }
        Err(self.expected(&format!("`{token}`")))
    }

    fn expected(&mut self, what: &str) -> String {
        let text = self.text;
        match self.rest() {
            "" => format!("{what} is missing at the end of `{text}`"),
            rest => format!("{what} was expected at `{rest}` in `{text}`"),
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn either(&mut self) -> Result<Shape, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("a shape is at most {DEEPEST} levels deep"));
        }
        let first = self.one()?;
        let mut shapes = vec![first];
        while self.take("|") {
            shapes.push(self.one()?);
        }
        self.depth -= 1;
        match shapes.len() {
            1 => Ok(shapes.remove(0)),
            _ => Ok(Shape::Either(shapes)),
        }
    }

    fn one(&mut self) -> Result<Shape, String> {
        if self.take("[") {
            let shape = self.either()?;
            self.expect("]")?;
            return Ok(Shape::Each(Box::new(shape)));
        }
        if self.take("{") {
            return self.keys();
        }
        let at = self.at;
        let shape = match self.word() {
            "any" => Shape::Any,
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "number" => Shape::Number,
            "string" => Shape::String,
            "array" => Shape::Array,
            "object" => Shape::Object,
            _ => {
                self.at = at;
                return Err(self.expected("a shape"));
            }
        };
        Ok(shape)
    }

    fn keys(&mut self) -> Result<Shape, String> {
        let mut keys = Vec::new();
        while !self.take("}") {
            if !keys.is_empty() {
                self.expect(",")?;
            }
            let key = match self.word() {
                "" => return Err(self.expected("a key or `}`")),
                key => key.to_owned(),
            };
            let shape = match self.take(":") {
                true => self.either()?,
                false => Shape::Any,
            };
            keys.push((key, shape));
        }
        Ok(Shape::Keys(keys))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(shape: &str, value: Value) -> Result<(), String> {
        Shape::parse(shape).unwrap().check(&value)
    }

    #[test]
    fn an_object_needs_its_keys_and_may_have_more() {
        let shape = "{tasks: array, count: number}";
        assert_eq!(
            check(shape, json!({"tasks": [], "count": 0, "x": 1})),
            Ok(())
        );
        assert_eq!(
            check(shape, json!({"items": []})),
            Err("the body has no key `tasks`, only: items".to_owned())
        );
        assert_eq!(
            check(shape, json!({"tasks": {}, "count": 0})),
            Err("the body.tasks is an object with the keys: , not array".to_owned())
        );
    }

    #[test]
    fn either_shape_will_do_and_neither_will_not() {
        let shape = "array | {events: array, count}";
        assert_eq!(check(shape, json!([])), Ok(()));
        assert_eq!(check(shape, json!({"events": [], "count": null})), Ok(()));
        assert_eq!(
            check(shape, json!("x")),
            Err("the body is a string, not array | {events: array, count: any}".to_owned())
        );
    }

    #[test]
    fn every_element_is_looked_at() {
        assert_eq!(check("[{id: string}]", json!([{"id": "a"}])), Ok(()));
        assert_eq!(
            check("[{id: string}]", json!([{"id": "a"}, {"id": 3}])),
            Err("the body[1].id is a number, not string".to_owned())
        );
    }

    #[test]
    fn a_wrong_shape_says_where() {
        assert_eq!(
            Shape::parse("{a: strin}"),
            Err("a shape was expected at `strin}` in `{a: strin}`".to_owned())
        );
        assert_eq!(
            Shape::parse("{a"),
            Err("`,` is missing at the end of `{a`".to_owned())
        );
        assert!(Shape::parse("array x").is_err());
        assert!(Shape::parse("").is_err());
        assert!(Shape::parse(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn a_shape_reads_back_as_it_is_shown() {
        for text in [
            "any",
            "[[number]]",
            "array | {a: null, b: boolean | string}",
        ] {
            let shape = Shape::parse(text).unwrap();
            assert_eq!(shape.to_string(), text);
            assert_eq!(Shape::parse(&shape.to_string()), Ok(shape));
        }
    }
}
