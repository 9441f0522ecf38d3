//! Takes secrets out of everything that is shown or stored.
//!
//! Built once from a run's secrets. Finds each value raw, URL-encoded, in
//! base64 and base32 (at any alignment), in hex, JSON-escaped and shell-quoted,
//! also across the chunks of a stream, across line breaks, and with white
//! space, `:`, `-` or `,` between groups. Of a longer value any 32 characters
//! are found, of an encoded one any 16. What is found becomes `***`. Forms that
//! no encoder here makes (encrypted, compressed, reversed) are not found.
//!
//! Text that was not secret can become `***`: the same characters with other
//! white space between them, and a part of a long value that is common text.

mod forms;
mod joined;
mod ordinary;
mod pieces;
#[cfg(test)]
mod properties;
mod search;
mod stream;

pub use ordinary::{Strength, strength};

pub use stream::{MaskedLines, MaskedStream};

use super::secrets::SecretValue;
use crate::clean;
use forms::Forms;
use pieces::Open;
use search::Search;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What stands in the place of a secret.
pub const MASK: &str = "***";
/// Shorter secrets are refused: masking them would hide common text.
pub const SHORTEST_SECRET: usize = 4;
/// A shorter line of a secret with several lines is not looked for alone.
const SHORTEST_LINE: usize = 8;

/// Why a masker cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The value would be found in ordinary text.
    #[error("a secret is shorter than {SHORTEST_SECRET} characters and cannot be masked")]
    TooShort,
    /// The search automaton was refused, for example for its size.
    #[error("the secrets cannot be searched for")]
    Search(#[from] aho_corasick::BuildError),
}

/// Replaces secrets. Cheap to clone.
#[derive(Clone)]
pub struct Masker {
    search: Option<Arc<Search>>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker(***)")
    }
}

impl Masker {
    /// A masker for these values. Ordinary words are left out: who reads the
    /// output knows them anyway, and without them it says nothing.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretValue>) -> Result<Self, MaskError> {
        let mut forms = Forms::default();
        for secret in secrets {
            let value = secret.expose();
            if value.chars().count() < SHORTEST_SECRET {
                return Err(MaskError::TooShort);
            }
            if strength(value) == Strength::Ordinary {
                continue;
            }
            forms.add(value);
            if value.contains('\n') {
                let lines = value.lines().map(str::trim);
                for line in lines.filter(|l| l.chars().count() >= SHORTEST_LINE) {
                    forms.add(line);
                }
            }
        }
        if forms.text.is_empty() {
            return Ok(Self::none());
        }
        let search = Search::new(forms)?;
        Ok(Self {
            search: Some(Arc::new(search)),
        })
    }

    /// A masker that changes nothing.
    pub fn none() -> Self {
        Self { search: None }
    }

    /// `text` with every secret replaced, also one with characters in it that a
    /// screen does not show: then all of these are left out.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let masked = self.mask_written(text);
        match self.mask_shown(&masked) {
            Some(shown) => Cow::Owned(shown),
            None => masked,
        }
    }

    /// `text` as a screen shows it, masked; none where it hides no secret that
    /// way.
    fn mask_shown(&self, text: &str) -> Option<String> {
        self.search.as_ref()?;
        let of_output = |text: &str| {
            let lines: Vec<_> = text.split('\n').map(clean::output).collect();
            lines.join("\n")
        };
        let Cow::Owned(block) = clean::block(text) else {
            return None;
        };
        [block, of_output(text)].into_iter().find_map(|shown| {
            let masked = self.mask_written(&shown);
            matches!(masked, Cow::Owned(_)).then(|| masked.into_owned())
        })
    }

    fn mask_written<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self.find(text.as_bytes());
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        // Every form is valid UTF-8, so matches begin and end between characters.
        let masked = replace(text.as_bytes(), &found);
        Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
    }

    /// The beginning of `text`, masked: at most `max` bytes. Looks at twice as
    /// much at most, however long the text is. Of a secret that goes on after
    /// that nothing is shown, since half of it would not be found.
    pub fn mask_start(&self, text: &str, max: usize) -> String {
        let seen = text.floor_char_boundary(max.saturating_mul(2));
        let mut masked = if seen == text.len() {
            self.mask(text).into_owned()
        } else {
            // Without what a screen leaves out, where there is a secret at all.
            let seen = text.get(..seen).unwrap_or_default();
            let shown = self.search.as_ref().map(|_| clean::block(seen));
            let seen = shown.as_deref().unwrap_or(seen);
            let shown = self.stream().push(seen.as_bytes());
            let whole = std::str::from_utf8(&shown).map_or_else(|e| e.valid_up_to(), str::len);
            let whole = shown.get(..whole).unwrap_or_default();
            String::from_utf8_lossy(whole).into_owned()
        };
        masked.truncate(masked.floor_char_boundary(max));
        masked
    }

    /// `bytes` with every secret replaced.
    pub fn mask_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let found = self.find(bytes);
        let masked = match found.is_empty() {
            true => Cow::Borrowed(bytes),
            false => Cow::Owned(replace(bytes, &found)),
        };
        match self.mask_shown(&String::from_utf8_lossy(&masked)) {
            Some(shown) => Cow::Owned(shown.into_bytes()),
            None => masked,
        }
    }

    /// Masks every string, key and number inside `value`.
    pub fn mask_json(&self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if let Cow::Owned(masked) = self.mask(&number.to_string()) {
                    *value = Value::String(masked);
                }
            }
            Value::String(text) => {
                if let Cow::Owned(masked) = self.mask(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|v| self.mask_json(v)),
            Value::Object(map) => {
                if map.keys().any(|k| matches!(self.mask(k), Cow::Owned(_))) {
                    let old = std::mem::take(map);
                    map.extend(
                        old.into_iter()
                            .map(|(k, v)| (self.mask(&k).into_owned(), v)),
                    );
                }
                map.values_mut().for_each(|v| self.mask_json(v));
            }
        }
    }

    /// A masker of one stream of bytes that arrives in chunks.
    pub fn stream(&self) -> MaskedStream {
        MaskedStream::new(self.clone())
    }

    /// What at the end of `bytes` may be part of a secret that goes on after it.
    fn open(&self, bytes: &[u8]) -> Open {
        let settled = Open {
            begins: bytes.len(),
            hidden: bytes.len(),
        };
        self.search.as_ref().map_or(settled, |s| s.open(bytes))
    }

    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        self.search
            .as_ref()
            .map_or_else(Vec::new, |s| s.find(bytes))
    }
}

fn replace(bytes: &[u8], found: &[Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for range in found {
        out.extend_from_slice(bytes.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(MASK.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use serde_json::json;

    fn masker(values: &[&str]) -> Masker {
        let values: Vec<SecretValue> = values
            .iter()
            .map(|v| SecretValue::new((*v).to_owned()))
            .collect();
        Masker::new(&values).unwrap()
    }

    const SECRET: &str = "p@ss w/rd'$\"\\é+x=1";

    #[test]
    fn every_form_of_a_secret_is_replaced() {
        let m = masker(&[SECRET]);
        let url = url::Url::parse_with_params("https://h/", [("t", SECRET)]).unwrap();
        let mut userinfo = url::Url::parse("https://h/").unwrap();
        userinfo.set_password(Some(SECRET)).unwrap();
        for (text, masked) in [
            (SECRET.to_owned(), "***".to_owned()),
            (format!("a{SECRET}b"), "a***b".to_owned()),
            (url.to_string(), "https://h/?t=***".to_owned()),
            (userinfo.to_string(), "https://:***@h/".to_owned()),
            (
                url.to_string().replace('+', "%20").to_lowercase(),
                "https://h/?t=***".to_owned(),
            ),
            (json!(SECRET).to_string(), "\"***\"".to_owned()),
            (super::super::quote::sh(SECRET), "'***'".to_owned()),
            (STANDARD.encode(SECRET), "***".to_owned()),
            (URL_SAFE_NO_PAD.encode(SECRET), "***".to_owned()),
        ] {
            assert_eq!(m.mask(&text), masked, "{text}");
        }
    }

    #[test]
    fn base64_of_a_longer_text_with_the_secret_inside_does_not_decode_to_it() {
        let m = masker(&["abcdefgh"]);
        for before in ["", "u", "u:", "us:", "use:"] {
            for after in ["", "1", "12", "123"] {
                for engine in [&STANDARD, &URL_SAFE_NO_PAD] {
                    let text = engine.encode(format!("{before}abcdefgh{after}"));
                    let masked = m.mask(&text).into_owned();
                    assert!(masked.contains(MASK), "{before} {after} {masked}");
                    assert!(masked.len() <= text.len() - 5, "{text} {masked}");
                }
            }
        }
    }

    #[test]
    fn text_without_a_secret_is_borrowed_and_unchanged() {
        let m = masker(&["abcdefgh"]);
        assert!(matches!(m.mask("abcdefg h"), Cow::Borrowed("abcdefg h")));
        assert!(matches!(Masker::none().mask("x"), Cow::Borrowed("x")));
    }

    #[test]
    fn a_secret_with_unseen_characters_in_it_is_found() {
        let secret = "zq9-Kf37-secret-Xw81mT";
        let m = masker(&[secret]);
        let between = |what: &str| {
            let (a, b) = secret.split_at(9);
            format!("a {a}{what}{b} b")
        };
        for what in [
            "\x1b[0m",
            "\x1b[01;31m\x1b[K",
            "\0",
            "\u{200b}",
            "\u{202e}",
            "\x7f",
            "\x1b]0;x\x07",
        ] {
            let text = between(what);
            let shown = m.mask(&text).into_owned();
            assert_eq!(clean::line(&shown), "a *** b", "{what:?}");
            let bytes = m.mask_bytes(text.as_bytes()).into_owned();
            assert!(String::from_utf8_lossy(&bytes).contains(MASK), "{what:?}");
            let long = format!("{text}{}", "y".repeat(200));
            let long = m.mask_start(&long, 60);
            assert!(!clean::line(&long).contains(secret), "{what:?}");
            assert!(!clean::output(&long).contains(secret), "{what:?}");
        }
        let each: String = secret.chars().flat_map(|c| [c, '\0']).collect();
        assert_eq!(clean::line(&m.mask(&each)), MASK);
        let mut lines = MaskedLines::new(&m, 1000);
        let mut shown = lines.push(between("\x1b[0m").as_bytes());
        shown.extend(lines.finish());
        assert_eq!(clean::output(&shown.concat()), "a *** b");
        assert_eq!(m.mask("a\x1b[1mb"), "a\x1b[1mb");
    }

    #[test]
    fn overlapping_secrets_leave_no_tail() {
        let m = masker(&["abcdef", "defghi"]);
        assert_eq!(m.mask("xabcdefghiy"), "x***y");
        assert_eq!(m.mask("abcdefabcdef"), "******");
        assert_eq!(masker(&["abcd", "abcdefgh"]).mask("abcdefgh"), "***");
    }

    #[test]
    fn a_secret_of_several_lines_is_found_line_by_line() {
        let m = masker(&["-----BEGIN KEY-----\nAAAABBBBCCCC\nshort\n"]);
        assert_eq!(m.mask("| AAAABBBBCCCC"), "| ***");
        assert_eq!(m.mask("short"), "short");
    }

    #[test]
    fn of_a_long_text_the_beginning_is_masked_and_no_half_of_a_secret_is_shown() {
        let secret = "s3cret-of-some-length";
        let m = masker(&[secret]);
        for max in 0..80 {
            for before in 0..100 {
                let text = format!("{}{secret}{}", "é".repeat(before), "y".repeat(200));
                let shown = m.mask_start(&text, max);
                assert!(shown.len() <= max);
                let all = m.mask(&text).into_owned();
                assert!(all.starts_with(&shown), "{max} {before} {shown}");
            }
            // What is masked is shorter: the window ends in the middle of one.
            let many = secret.repeat(50);
            let shown = m.mask_start(&many, max);
            assert!(shown.chars().all(|c| c == '*'), "{max} {shown}");
        }
        assert_eq!(m.mask_start("short", 100), "short");
        assert_eq!(Masker::none().mask_start("aéb", 2), "a");
    }

    #[test]
    fn json_is_masked_in_strings_keys_and_numbers() {
        let m = masker(&["12345678", "s3cret"]);
        let mut value = json!({"a": ["x s3cret"], "s3cret": 1, "n": 12345678, "ok": 1234});
        m.mask_json(&mut value);
        assert_eq!(
            value,
            json!({"a": ["x ***"], "***": 1, "n": "***", "ok": 1234})
        );
    }

    #[test]
    fn short_secrets_are_refused_and_nothing_is_printed_of_a_masker() {
        let short = SecretValue::new("abc".to_owned());
        assert!(matches!(Masker::new([&short]), Err(MaskError::TooShort)));
        assert_eq!(format!("{:?}", masker(&["abcdefgh"])), "Masker(***)");
    }
}
