//! Finds forms, and long enough pieces of forms, in joined text: `base64`
//! breaks its lines, `fold` any, `xxd` groups digits, and a log puts words in
//! front of each line.
//!
//! A window of a form is a secret wherever it stands, so a piece is found as
//! the union of its windows, whatever comes between two lines of it. A form
//! that is too short for windows is looked for whole.

use super::forms::Forms;
use super::joined::{Joined, LONGEST_GAP, is_separator};
use std::collections::HashMap;
use std::ops::Range;

/// This many characters of an encoded form are found by themselves.
const CODE: usize = 16;
/// The same of a form that a person can read: addresses and words in it are
/// common text.
const TEXT: usize = 32;
/// Shorter forms are found only unbroken.
const SHORTEST: usize = 8;
/// A readable form that is shorter is joined over line breaks only.
const SHORTEST_SPACED: usize = 12;
/// So many characters of a piece stay where a line ends with them: nearly every
/// line ends with some that might begin one, and would wait for the next line.
const LOOSE: usize = 3;

/// Places at the end of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// From here on the text is needed for what follows it.
    pub(super) begins: usize,
    /// From here on it is not shown.
    pub(super) hidden: usize,
}

/// Beside the digits of a dump stands the text itself, within so many bytes.
const COLUMN: usize = 160;

/// Every window and every short form.
pub(super) struct Pieces {
    code: Windows<CODE>,
    text: Windows<TEXT>,
    /// Sorted.
    wholes: Vec<Whole>,
    sieve: Sieve,
    longest: usize,
}

/// A form that is looked for as a whole, without separators.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Whole {
    bytes: Vec<u8>,
    /// With its separators, if those must be there.
    written: Option<Written>,
}

/// A readable form: two words are not one, and `a-b` is not `ab`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    form: String,
    /// Long enough to be known with spaces in it, not over line breaks only.
    spaced: bool,
}

impl Written {
    /// Whether `text` is the form with nothing but white space added.
    fn is(&self, text: &[u8]) -> bool {
        let squeezed = |text: &[u8]| -> Vec<u8> {
            let is_space = |byte: &u8| byte.is_ascii_whitespace();
            let runs = text.chunk_by(|a, b| is_space(a) == is_space(b));
            let kept = runs.filter(|run| {
                !run.first().is_some_and(is_space) || !(self.spaced || run.contains(&b'\n'))
            });
            kept.flatten().copied().collect()
        };
        squeezed(text) == squeezed(self.form.as_bytes())
    }
}

/// All windows of one length, sorted.
struct Windows<const N: usize>(Vec<[u8; N]>);

impl<const N: usize> Windows<N> {
    fn new<'f>(forms: impl Iterator<Item = &'f [u8]>) -> Self {
        let mut all: Vec<[u8; N]> = forms
            .flat_map(|form| form.windows(N).filter_map(|w| w.try_into().ok()))
            .collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    fn has(&self, text: &[u8]) -> bool {
        let window = text.first_chunk::<N>();
        window.is_some_and(|window| self.0.binary_search(window).is_ok())
    }

    /// Whether `text` may be the beginning of one.
    fn begins(&self, text: &[u8]) -> bool {
        let at = self.0.partition_point(|window| window.as_slice() < text);
        self.0.get(at).is_some_and(|w| w.starts_with(text))
    }
}

/// Tells by the first eight characters whether there can be anything: almost
/// all output has nothing.
struct Sieve {
    bits: Vec<u64>,
    shift: u32,
    /// The same without errors, sorted.
    keys: Vec<u64>,
    /// The short forms that begin so.
    wholes: HashMap<u64, Vec<usize>>,
}

impl Sieve {
    fn new(mut keys: Vec<u64>, wholes: HashMap<u64, Vec<usize>>) -> Self {
        keys.extend(wholes.keys());
        keys.sort_unstable();
        keys.dedup();
        // 64 bits a key: one byte of text in 64 is asked for in vain.
        let width = (keys.len() * 64)
            .next_power_of_two()
            .clamp(1 << 12, 1 << 24);
        let mut sieve = Self {
            bits: vec![0; width / 64],
            shift: u64::BITS - width.trailing_zeros(),
            keys,
            wholes,
        };
        for at in 0..sieve.keys.len() {
            let key = sieve.keys.get(at).copied().unwrap_or_default();
            let (word, bit) = sieve.bit(key);
            if let Some(word) = sieve.bits.get_mut(word) {
                *word |= bit;
            }
        }
        sieve
    }

    fn bit(&self, key: u64) -> (usize, u64) {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        let word = usize::try_from(hash / 64).unwrap_or_default();
        (word, 1 << (hash % 64))
    }

    /// The short forms that begin with `key`; None when nothing does.
    fn get(&self, key: u64) -> Option<&[usize]> {
        let (word, bit) = self.bit(key);
        if self.bits.get(word)? & bit == 0 || self.keys.binary_search(&key).is_err() {
            return None;
        }
        Some(self.wholes.get(&key).map_or(&[], Vec::as_slice))
    }
}

fn key(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|eight| u64::from_be_bytes(*eight))
}

/// `form` without separators.
fn compact(form: &str) -> Vec<u8> {
    form.bytes().filter(|b| !is_separator(*b)).collect()
}

/// `form` without the separators around it.
fn trimmed(form: &str) -> &str {
    form.trim_matches(|c: char| u8::try_from(c).is_ok_and(is_separator))
}

impl Pieces {
    pub(super) fn new(forms: &Forms) -> Self {
        let mut wholes = Vec::new();
        let text: Vec<(Vec<u8>, &String)> = forms.text.iter().map(|f| (compact(f), f)).collect();
        // With four characters a byte a window would be four bytes: who may hand
        // texts to the masker could guess the secret byte by byte.
        let prefixed = |form: &&String| form.starts_with("0x") || form.starts_with("\\x");
        let (prefixed, dumps): (Vec<_>, Vec<_>) = forms.dumps.iter().partition(prefixed);
        for form in prefixed {
            add_whole(&compact(form), None, &mut wholes);
        }
        let code = forms.code.iter().chain(dumps);
        let code: Vec<Vec<u8>> = code.map(|f| compact(f)).collect();
        // A window of a form with other characters could begin inside of one.
        let is_long = |form: &[u8], window| form.len() >= window && form.is_ascii();
        for (bytes, form) in text.iter().filter(|(b, _)| !is_long(b, TEXT)) {
            add_whole(bytes, Some(form), &mut wholes);
        }
        for bytes in code.iter().filter(|b| !is_long(b, CODE)) {
            add_whole(bytes, None, &mut wholes);
        }
        wholes.sort_unstable();
        wholes.dedup();
        let code = Windows::new(code.iter().map(Vec::as_slice).filter(|f| is_long(f, CODE)));
        let text = text.iter().map(|(bytes, _)| bytes.as_slice());
        let text = Windows::new(text.filter(|f| is_long(f, TEXT)));
        let code_keys = code.0.iter().filter_map(|w| key(w));
        let keys: Vec<u64> = code_keys
            .chain(text.0.iter().filter_map(|w| key(w)))
            .collect();
        let mut by_key: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, whole) in wholes.iter().enumerate() {
            if let Some(key) = key(&whole.bytes) {
                by_key.entry(key).or_default().push(at);
            }
        }
        let longest = wholes.iter().map(|w| w.bytes.len()).max();
        Self {
            longest: longest.unwrap_or_default().max(TEXT),
            sieve: Sieve::new(keys, by_key),
            code,
            text,
            wholes,
        }
    }

    /// How much of a text's end decides what goes on after it.
    pub(super) fn reach(&self) -> usize {
        (self.longest + COLUMN) * (LONGEST_GAP + 1)
    }

    /// Where pieces are in `text`, in no order.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        if !self.may_have(text) {
            return Vec::new();
        }
        let joined = Joined::new(text);
        let mut found = Vec::new();
        for at in 0..joined.bytes.len() {
            let rest = joined.bytes.get(at..).unwrap_or_default();
            let Some(wholes) = key(rest).and_then(|key| self.sieve.get(key)) else {
                continue;
            };
            let start = joined.after_line_break(at, text, LOOSE);
            let end = |len: usize| joined.start(at + len - 1) + 1;
            if self.code.has(rest) {
                let end = end(CODE);
                let column = column(rest, text, end);
                found.push(start..column.end.unwrap_or(end));
            }
            if self.text.has(rest) {
                found.push(start..end(TEXT));
            }
            for whole in wholes.iter().filter_map(|at| self.wholes.get(*at)) {
                let len = whole.bytes.len();
                let range = joined.start(at)..end(len);
                let range = text.get(range).unwrap_or_default();
                if rest.starts_with(&whole.bytes)
                    && whole.written.as_ref().is_none_or(|w| w.is(range))
                {
                    found.push(start..end(len));
                }
            }
        }
        found
    }

    /// What of the end of `text` may be the beginning of a piece that goes on
    /// after it, and what of that must not be shown yet.
    pub(super) fn open(&self, text: &[u8]) -> Option<Open> {
        let from = text.len().saturating_sub(self.reach());
        let text = text.get(from..).unwrap_or_default();
        let joined = Joined::new(text);
        let count = joined.bytes.len();
        let mut places = (count + 1).saturating_sub(self.longest + COLUMN)..count;
        let at = places.find(|at| {
            let rest = joined.bytes.get(*at..).unwrap_or_default();
            let may_go_on = || {
                let end = joined.start(at + CODE - 1) + 1;
                column(rest, text, end).goes_on
            };
            self.text.begins(rest)
                || self.begins_a_whole(rest)
                || (rest.len() < CODE && self.code.begins(rest))
                || (self.code.has(rest) && may_go_on())
        })?;
        Some(Open {
            begins: from + joined.start(at),
            hidden: from + joined.after_line_break(at, text, LOOSE),
        })
    }

    fn begins_a_whole(&self, rest: &[u8]) -> bool {
        let at = self.wholes.partition_point(|w| w.bytes.as_slice() < rest);
        let next = self.wholes.get(at);
        next.is_some_and(|whole| whole.bytes.starts_with(rest))
    }

    /// Whether eight characters in a row begin a piece.
    fn may_have(&self, text: &[u8]) -> bool {
        let mut last_eight = 0_u64;
        text.iter().any(|byte| {
            if is_separator(*byte) {
                return false;
            }
            last_eight = last_eight << 8 | u64::from(*byte);
            self.sieve.get(last_eight).is_some()
        })
    }
}

/// The rest of the line beside the digits of a dump.
struct Column {
    /// Where it ends so far; None where the digits are all there is.
    end: Option<usize>,
    /// The line is not there to its end.
    goes_on: bool,
}

/// What stands beside the digits of a window that ends at `end`.
fn column(digits: &[u8], text: &[u8], end: usize) -> Column {
    let rest = text.get(end..).unwrap_or_default();
    let near = rest.get(..COLUMN).unwrap_or(rest);
    let line_end = memchr::memchr(b'\n', near);
    let line = near.get(..line_end.unwrap_or(near.len()));
    let line = line.unwrap_or_default();
    let mut digits = digits.iter().take(CODE);
    let is_hex = digits.all(u8::is_ascii_hexdigit);
    let is_beside = is_hex && line.windows(2).any(|pair| pair == b"  ");
    Column {
        end: is_beside.then_some(end + line.len()),
        goes_on: is_hex && line_end.is_none() && near.len() < COLUMN,
    }
}

fn add_whole(bytes: &[u8], form: Option<&str>, wholes: &mut Vec<Whole>) {
    if bytes.len() >= SHORTEST {
        wholes.push(Whole {
            bytes: bytes.to_vec(),
            written: form.map(|form| Written {
                form: trimmed(form).to_owned(),
                spaced: bytes.len() >= SHORTEST_SPACED,
            }),
        });
    }
}
