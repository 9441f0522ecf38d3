//! Finds forms in bytes, and in bytes with their URL encoding undone: unbroken
//! ones here, and what separators break by [`Pieces`].

use super::forms::Forms;
use super::pieces::{Open, Pieces};
use aho_corasick::{AhoCorasick, BuildError, Input, MatchKind};
use std::ops::Range;

/// A search for all forms of all secrets at once.
pub(super) struct Search {
    /// Tells whether there is a form at all, many times faster than the
    /// automaton tells where: almost all output has none.
    sieve: AhoCorasick,
    automaton: AhoCorasick,
    /// Every form, sorted.
    forms: Vec<String>,
    pieces: Pieces,
}

impl Search {
    /// A search for these forms.
    pub(super) fn new(forms: Forms) -> Result<Self, BuildError> {
        let pieces = Pieces::new(&forms);
        let mut forms: Vec<String> = forms.text.into_iter().chain(forms.code).collect();
        forms.sort_unstable();
        forms.dedup();
        let automaton = AhoCorasick::new(&forms)?;
        // Only a search for the leftmost occurrence has a prefilter.
        let sieve = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(&forms)?;
        Ok(Self {
            sieve,
            automaton,
            forms,
            pieces,
        })
    }

    /// Where secrets are, in order; overlapping ones are one range.
    pub(super) fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = self.all(bytes);
        if has_escape(bytes) {
            let decoded = Decoded::new(bytes);
            let ranges = self.all(&decoded.bytes).into_iter();
            found.extend(ranges.map(|r| decoded.offset(r.start)..decoded.offset(r.end)));
        }
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

    /// What at the end of `bytes` may be part of a form that goes on after it.
    pub(super) fn open(&self, bytes: &[u8]) -> Open {
        let whole = bytes.len() - unfinished_escape(bytes);
        let settled = Open {
            begins: whole,
            hidden: whole,
        };
        let raw = self.first_open(bytes);
        let decoded = match whole < bytes.len() || has_escape(bytes) {
            true => self.first_open_decoded(bytes.get(..whole).unwrap_or_default()),
            false => None,
        };
        [raw, decoded].into_iter().flatten().fold(settled, earlier)
    }

    /// The same place as in the decoded bytes. Only the end is decoded: a form
    /// that goes on has not begun before its own length, three bytes for each.
    fn first_open_decoded(&self, bytes: &[u8]) -> Option<Open> {
        let reach = self.automaton.max_pattern_len().max(self.pieces.reach());
        let mut from = bytes.len().saturating_sub(3 * reach);
        // An escape is decoded whole.
        let before = bytes.get(..from).unwrap_or_default();
        match before {
            [.., b'%'] => from -= 1,
            [.., b'%', _] => from -= 2,
            _ => {}
        }
        let end = bytes.get(from..).unwrap_or_default();
        let decoded = Decoded::new(end);
        let open = self.first_open(&decoded.bytes)?;
        Some(Open {
            begins: from + decoded.offset(open.begins),
            hidden: from + decoded.offset(open.hidden),
        })
    }

    /// All occurrences, overlapping ones too, in no order.
    fn all(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = self.pieces.find(bytes);
        if self.sieve.is_match(bytes) {
            found.extend(self.unbroken(bytes));
        }
        found
    }

    fn unbroken(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        match self.automaton.try_find_overlapping_iter(Input::new(bytes)) {
            Ok(matches) => matches.map(|m| m.range()).collect(),
            // Never for this automaton; hiding all is the safe answer.
            Err(_) => std::iter::once(0..bytes.len()).collect(),
        }
    }

    fn first_open(&self, bytes: &[u8]) -> Option<Open> {
        let unbroken = self.first_unbroken(bytes).map(|at| Open {
            begins: at,
            hidden: at,
        });
        let places = unbroken.into_iter().chain(self.pieces.open(bytes));
        places.reduce(earlier)
    }

    /// The first place from which on `bytes` may be the beginning of a form.
    fn first_unbroken(&self, bytes: &[u8]) -> Option<usize> {
        let begins_a_form = |text: &[u8]| {
            let at = self.forms.partition_point(|f| f.as_bytes() < text);
            let form = self.forms.get(at);
            form.is_some_and(|f| f.as_bytes().starts_with(text))
        };
        let first = (bytes.len() + 1).saturating_sub(self.automaton.max_pattern_len());
        (first..bytes.len()).find(|at| bytes.get(*at..).is_some_and(begins_a_form))
    }
}

fn earlier(a: Open, b: Open) -> Open {
    Open {
        begins: a.begins.min(b.begins),
        hidden: a.hidden.min(b.hidden),
    }
}

/// Bytes with `%XX` decoded. Encoders differ in what they leave as it is, so
/// the text is decoded instead of the secret encoded.
struct Decoded {
    bytes: Vec<u8>,
    /// Where each byte began before decoding.
    starts: Vec<usize>,
    /// Length before decoding.
    len: usize,
}

impl Decoded {
    fn new(raw: &[u8]) -> Self {
        let hex = |b: Option<&u8>| {
            let digit = char::from(*b?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let mut bytes = Vec::with_capacity(raw.len());
        let mut starts = Vec::with_capacity(raw.len());
        let mut at = 0;
        while let Some(b) = raw.get(at) {
            starts.push(at);
            match (*b, hex(raw.get(at + 1)), hex(raw.get(at + 2))) {
                (b'%', Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    at += 3;
                }
                _ => {
                    bytes.push(*b);
                    at += 1;
                }
            }
        }
        Self {
            bytes,
            starts,
            len: raw.len(),
        }
    }

    fn offset(&self, at: usize) -> usize {
        self.starts.get(at).copied().unwrap_or(self.len)
    }
}

/// Whether there is anything to decode; a lone `%` is not.
fn has_escape(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes).any(|at| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Length of a `%` or `%X` at the end that the next chunk may complete.
fn unfinished_escape(bytes: &[u8]) -> usize {
    match bytes {
        [.., b'%'] => 1,
        [.., b'%', digit] if digit.is_ascii_hexdigit() => 2,
        _ => 0,
    }
}
