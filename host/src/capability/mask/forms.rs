//! The forms in which a secret is looked for. URL encoding is not among them:
//! the search undoes it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Every form in which `value` is looked for.
pub(super) fn add_forms(value: &str, forms: &mut BTreeSet<String>) {
    forms.insert(value.to_owned());
    // A space in a query; the rest of URL encoding is undone by the search.
    forms.insert(value.replace(' ', "+"));
    add_base64_forms(value.as_bytes(), forms);
    add_escaped_forms(value, forms);
    let hex = value.bytes().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    });
    forms.insert(hex.to_ascii_uppercase());
    forms.insert(hex);
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
