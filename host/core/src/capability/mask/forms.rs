//! The forms in which a secret is looked for. URL encoding is not among them:
//! the search undoes it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Of a longer value no dump is looked for: each form of it costs memory.
const LONGEST_DUMPED: usize = 8 * 1024;

/// Forms of values.
#[derive(Default)]
pub(super) struct Forms {
    /// As written or escaped: a person can read it.
    pub(super) text: BTreeSet<String>,
    /// Encoded.
    pub(super) code: BTreeSet<String>,
    /// Encoded in ways that are looked for in joined text only.
    pub(super) dumps: BTreeSet<String>,
}

impl Forms {
    /// Every form of `value`.
    pub(super) fn add(&mut self, value: &str) {
        self.text.insert(value.to_owned());
        // A space in a query; the rest of URL encoding is undone by the search.
        self.text.insert(value.replace(' ', "+"));
        add_escaped_forms(value, &mut self.text);
        let bytes = value.as_bytes();
        add_base64_forms(bytes, &mut self.code);
        self.code.insert(hex(bytes, "").to_ascii_uppercase());
        self.code.insert(hex(bytes, ""));
        if bytes.len() > LONGEST_DUMPED {
            return;
        }
        // `xxd -i`, and a byte string of Python or C.
        self.dumps.insert(hex(bytes, "0x"));
        self.dumps.insert(hex(bytes, "\\x"));
        // `od -x` and `hexdump` swap the bytes of a word.
        for from in [0, 1] {
            let words = bytes.get(from..).unwrap_or_default();
            let swapped: Vec<u8> = words
                .as_chunks()
                .0
                .iter()
                .flat_map(|[a, b]| [*b, *a])
                .collect();
            self.dumps.insert(hex(&swapped, ""));
        }
        for before in 0..5 {
            self.dumps.insert(base32(bytes, before));
        }
    }
}

/// Two digits a byte, each after `prefix`.
fn hex(bytes: &[u8], prefix: &str) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{prefix}{b:02x}");
        out
    })
}

/// In base32, `before` bytes after the beginning of a group, without the
/// characters that also carry bits of the neighbours.
fn base32(bytes: &[u8], before: usize) -> String {
    const ALPHABET: [u8; 32] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut held, mut out) = (0_u32, 0, String::new());
    let zeros = std::iter::repeat_n(&0, before);
    for byte in zeros.chain(bytes) {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            let digit = ALPHABET.get((bits >> held & 31) as usize);
            out.extend(digit.map(|d| char::from(*d)));
        }
        bits &= 31;
    }
    out.split_off((before * 8).div_ceil(5).min(out.len()))
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
