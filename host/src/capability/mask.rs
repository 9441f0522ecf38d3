//! Takes secrets out of everything that is shown or stored.
//!
//! Built once from a run's secrets. Finds each value raw, URL-encoded, in
//! base64 (at any alignment), in hex, JSON-escaped and shell-quoted, also
//! across the chunks of a stream. What is found becomes `***`. Forms that no
//! encoder here makes (encrypted, compressed, reversed) are not found.

use super::secrets::SecretValue;
use aho_corasick::{AhoCorasick, Input};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
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

struct Search {
    automaton: AhoCorasick,
    /// Every form, sorted.
    forms: Vec<String>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker(***)")
    }
}

impl Masker {
    /// A masker for these values.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretValue>) -> Result<Self, MaskError> {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            let value = secret.expose();
            if value.chars().count() < SHORTEST_SECRET {
                return Err(MaskError::TooShort);
            }
            add_forms(value, &mut forms);
            if value.contains('\n') {
                let lines = value.lines().map(str::trim);
                for line in lines.filter(|l| l.chars().count() >= SHORTEST_LINE) {
                    add_forms(line, &mut forms);
                }
            }
        }
        if forms.is_empty() {
            return Ok(Self::none());
        }
        let forms: Vec<String> = forms.into_iter().collect();
        let automaton = AhoCorasick::new(&forms)?;
        Ok(Self {
            search: Some(Arc::new(Search { automaton, forms })),
        })
    }

    /// A masker that changes nothing.
    pub fn none() -> Self {
        Self { search: None }
    }

    /// `text` with every secret replaced.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self.find(text.as_bytes());
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        // Every form is valid UTF-8, so matches begin and end between characters.
        let masked = replace(text.as_bytes(), &found);
        Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
    }

    /// `bytes` with every secret replaced.
    pub fn mask_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let found = self.find(bytes);
        match found.is_empty() {
            true => Cow::Borrowed(bytes),
            false => Cow::Owned(replace(bytes, &found)),
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
        MaskedStream {
            masker: self.clone(),
            held: Vec::new(),
            hidden: 0,
        }
    }

    /// How many bytes at the beginning cannot be part of a secret that goes
    /// on after `bytes`.
    fn settled(&self, bytes: &[u8]) -> usize {
        let Some(search) = &self.search else {
            return bytes.len();
        };
        let begins_a_form = |text: &[u8]| {
            let at = search.forms.partition_point(|f| f.as_bytes() < text);
            let form = search.forms.get(at);
            form.is_some_and(|f| f.as_bytes().starts_with(text))
        };
        let longest = search.automaton.max_pattern_len();
        let first = (bytes.len() + 1).saturating_sub(longest);
        (first..bytes.len())
            .find(|at| bytes.get(*at..).is_some_and(begins_a_form))
            .unwrap_or(bytes.len())
    }

    /// Where secrets are, in order; overlapping ones are one range.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let Some(search) = &self.search else {
            return Vec::new();
        };
        let Ok(matches) = search
            .automaton
            .try_find_overlapping_iter(Input::new(bytes))
        else {
            return vec![0..bytes.len()];
        };
        let mut found: Vec<Range<usize>> = matches.map(|m| m.range()).collect();
        found.sort_unstable_by_key(|r| (r.start, r.end));
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }
}

/// Masks a stream: holds back only what could be the beginning of a secret.
#[derive(Debug)]
pub struct MaskedStream {
    masker: Masker,
    held: Vec<u8>,
    /// So many of the held bytes belong to a secret that was replaced already.
    hidden: usize,
}

impl MaskedStream {
    /// Takes a chunk and returns what is safe to show now.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(chunk);
        self.release(self.masker.settled(&self.held))
    }

    /// Returns the rest at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    /// Shows the first `safe` bytes: no form that begins there can end later
    /// than what is held.
    fn release(&mut self, safe: usize) -> Vec<u8> {
        if safe == 0 {
            return Vec::new();
        }
        let mut found = self.masker.find(&self.held);
        let mut out = Vec::with_capacity(safe);
        let mut at = 0;
        if self.hidden > 0 {
            // The run that goes on from the last release, with what overlaps it.
            let mut end = self.hidden;
            found.retain(|r| {
                let joins = r.start < end;
                if joins {
                    end = end.max(r.end);
                }
                !joins
            });
            at = end;
        }
        for range in found.iter().take_while(|r| r.start < safe) {
            out.extend_from_slice(self.held.get(at..range.start).unwrap_or_default());
            out.extend_from_slice(MASK.as_bytes());
            at = range.end;
        }
        out.extend_from_slice(self.held.get(at..safe).unwrap_or_default());
        self.hidden = at.saturating_sub(safe);
        self.held.drain(..safe);
        out
    }
}

/// Cuts a masked stream into lines for events. A line longer than the limit
/// is shown in pieces.
#[derive(Debug)]
pub struct MaskedLines {
    stream: MaskedStream,
    line: Vec<u8>,
    limit: usize,
}

impl MaskedLines {
    /// Lines of at most `limit` bytes.
    pub fn new(masker: &Masker, limit: usize) -> Self {
        Self {
            stream: masker.stream(),
            line: Vec::new(),
            limit: limit.max(1),
        }
    }

    /// Takes a chunk and returns the lines that are complete, without line
    /// ends.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let masked = self.stream.push(chunk);
        self.cut(&masked)
    }

    /// Returns what is left at the end of the stream.
    pub fn finish(&mut self) -> Vec<String> {
        let masked = self.stream.finish();
        let mut lines = self.cut(&masked);
        if !self.line.is_empty() {
            lines.push(self.take_line());
        }
        lines
    }

    fn cut(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for part in text.chunks(self.limit) {
                if self.line.len() + part.len() > self.limit {
                    lines.push(self.take_line());
                }
                self.line.extend_from_slice(part);
            }
            if ended {
                lines.push(self.take_line());
            }
        }
        lines
    }

    fn take_line(&mut self) -> String {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8_lossy(&line).into_owned()
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

/// Every form in which `value` is looked for.
fn add_forms(value: &str, forms: &mut BTreeSet<String>) {
    forms.insert(value.to_owned());
    add_url_forms(value, forms);
    add_base64_forms(value.as_bytes(), forms);
    add_escaped_forms(value, forms);
    let hex = value.bytes().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    });
    forms.insert(hex.to_ascii_uppercase());
    forms.insert(hex);
}

/// Encoders differ in what they leave as it is.
fn add_url_forms(value: &str, forms: &mut BTreeSet<String>) {
    const KEPT: [&str; 6] = [
        "",
        "-_.~",
        "-_.*",
        "-_.!~*'()",
        "-_.~!$&'()*+,;=:@",
        "-_.~!$&'()*+,;=:@/?",
    ];
    for kept in KEPT {
        for space in ["%20", "+"] {
            for upper in [true, false] {
                let mut out = String::with_capacity(value.len() * 3);
                for b in value.bytes() {
                    let c = char::from(b);
                    if c == ' ' {
                        out.push_str(space);
                    } else if c.is_ascii_alphanumeric() || (c.is_ascii() && kept.contains(c)) {
                        out.push(c);
                    } else if upper {
                        let _ = write!(out, "%{b:02X}");
                    } else {
                        let _ = write!(out, "%{b:02x}");
                    }
                }
                forms.insert(out);
            }
        }
    }
}

/// Whole, and as it appears inside the encoding of a longer text: there the
/// first and last character also carry bits of the neighbours and are left
/// out.
fn add_base64_forms(value: &[u8], forms: &mut BTreeSet<String>) {
    for engine in [&STANDARD, &URL_SAFE] {
        forms.insert(engine.encode(value));
    }
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        forms.insert(engine.encode(value));
        for (before, skip) in [(0_usize, 0_usize), (1, 2), (2, 3)] {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(value);
            let whole = bytes.len() * 8 / 6;
            if let Some(core) = engine.encode(&bytes).get(skip..whole) {
                forms.insert(core.to_owned());
            }
        }
    }
}

fn add_escaped_forms(value: &str, forms: &mut BTreeSet<String>) {
    let json = Value::String(value.to_owned()).to_string();
    if let Some(inner) = json.strip_prefix('"').and_then(|j| j.strip_suffix('"')) {
        forms.insert(inner.to_owned());
        forms.insert(inner.replace('/', "\\/"));
        for upper in [true, false] {
            forms.insert(inner.chars().fold(String::new(), |mut out, c| {
                if c.is_ascii() {
                    out.push(c);
                    return out;
                }
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = match upper {
                        true => write!(out, "\\u{unit:04X}"),
                        false => write!(out, "\\u{unit:04x}"),
                    };
                }
                out
            }));
        }
    }
    // In single quotes, in double quotes, and with backslashes.
    forms.insert(value.replace('\'', r"'\''"));
    let escape = |special: &dyn Fn(char) -> bool| {
        value.chars().fold(String::new(), |mut out, c| {
            if special(c) {
                out.push('\\');
            }
            out.push(c);
            out
        })
    };
    forms.insert(escape(&|c| "\"$`\\".contains(c)));
    forms.insert(escape(&|c| {
        c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-./:=,@%+".contains(c)
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// A small generator, so that a failure can be repeated.
    fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        }
    }

    #[test]
    fn however_a_stream_is_cut_it_is_masked_like_the_whole() {
        let secrets = ["abab", "bababa", "aaaa", "hunter2!"];
        let m = masker(&secrets);
        for seed in 0..400 {
            let mut next = numbers(seed);
            let mut text = String::new();
            for _ in 0..next(40) {
                match next(6) {
                    0 => text.push_str(secrets[next(secrets.len())]),
                    1 => text.push_str(&STANDARD.encode("x:hunter2!y")),
                    2 => text.push('\n'),
                    _ => text.push(['a', 'b', 'c'][next(3)]),
                }
            }
            let mut stream = m.stream();
            let mut out = Vec::new();
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (chunk, tail) = rest.split_at(1 + next(rest.len().min(7)));
                out.extend(stream.push(chunk));
                rest = tail;
            }
            out.extend(stream.finish());
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out, m.mask(&text), "seed {seed}: {text:?}");
            for secret in secrets {
                assert!(!out.contains(secret), "seed {seed}");
            }
        }
    }

    #[test]
    fn lines_come_out_whole_masked_and_bounded() {
        let m = masker(&["hunter2!"]);
        let mut lines = MaskedLines::new(&m, 10);
        let mut out = Vec::new();
        for chunk in [
            "one\r\ntw",
            "o hun",
            "ter2",
            "!\n",
            "0123456789abcdef\n",
            "\nend",
        ] {
            out.extend(lines.push(chunk.as_bytes()));
        }
        out.extend(lines.finish());
        assert_eq!(out, ["one", "two ***", "0123456789", "abcdef", "", "end"]);
    }

    #[test]
    fn only_what_may_become_a_secret_is_held_back() {
        let mut stream = masker(&["hunter2!"]).stream();
        assert_eq!(stream.push(b"listening on :3000"), b"listening on :3000");
        assert_eq!(stream.push(b" hunter"), b" ");
        assert_eq!(stream.push(b"s"), b"hunters");
    }

    #[test]
    fn without_secrets_a_stream_is_held_back_by_nothing() {
        let mut stream = Masker::none().stream();
        assert_eq!(stream.push(b"abc"), b"abc");
        assert!(stream.finish().is_empty());
    }
}
