//! Masks output while it arrives.

use super::pieces::Open;
use super::{MASK, Masker};

/// Masks a stream: holds back only what could be the beginning of a secret.
#[derive(Debug)]
pub struct MaskedStream {
    masker: Masker,
    held: Vec<u8>,
    /// So many of the held bytes were shown already: a secret may begin with
    /// them all the same.
    shown: usize,
    /// The bytes before this one were shown or belong to a secret that was
    /// replaced already.
    done: usize,
}

impl MaskedStream {
    /// A stream from its beginning.
    pub(super) fn new(masker: Masker) -> Self {
        Self {
            masker,
            held: Vec::new(),
            shown: 0,
            done: 0,
        }
    }

    /// Takes a chunk and returns what is safe to show now.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(chunk);
        self.release(self.masker.open(&self.held))
    }

    /// Returns the rest at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release(Open {
            begins: self.held.len(),
            hidden: self.held.len(),
        })
    }

    /// Shows what is not hidden: no secret that begins there can end later than
    /// what is held.
    fn release(&mut self, open: Open) -> Vec<u8> {
        let safe = open.hidden.max(self.shown);
        let keep = open.begins.min(safe);
        let mut out = Vec::with_capacity(safe - self.shown);
        // Also where nothing is shown: what is dropped may begin a secret that
        // is whole only now.
        if safe > self.shown || keep > 0 {
            let mut at = self.done;
            for range in self.masker.find(&self.held) {
                // One that goes on from the last release, with what overlaps it.
                if range.start < at {
                    at = at.max(range.end);
                    continue;
                }
                if range.start >= safe {
                    break;
                }
                out.extend_from_slice(self.held.get(at..range.start).unwrap_or_default());
                out.extend_from_slice(MASK.as_bytes());
                at = range.end;
            }
            out.extend_from_slice(self.held.get(at..safe).unwrap_or_default());
            self.done = at.max(safe);
        }
        self.held.drain(..keep);
        self.shown = safe - keep;
        self.done -= keep;
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
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (text, after) = rest.split_at(end);
            self.add(text, &mut lines);
            lines.push(self.take_line());
            rest = after.get(1..).unwrap_or_default();
        }
        self.add(rest, &mut lines);
        lines
    }

    fn add(&mut self, text: &[u8], lines: &mut Vec<String>) {
        for part in text.chunks(self.limit) {
            if self.line.len() + part.len() > self.limit {
                lines.push(self.take_line());
            }
            self.line.extend_from_slice(part);
        }
    }

    fn take_line(&mut self) -> String {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let line = String::from_utf8(line)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        self.stream.masker.mask_shown(&line).unwrap_or(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::secrets::SecretValue;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn masker(values: &[&str]) -> Masker {
        let values: Vec<SecretValue> = values
            .iter()
            .map(|v| SecretValue::new((*v).to_owned()))
            .collect();
        Masker::new(&values).unwrap()
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
        let secrets = ["abab", "bababa", "aaaa", "hunter2!", "61ab%"];
        let m = masker(&secrets);
        for seed in 0..400 {
            let mut next = numbers(seed);
            let mut text = String::new();
            for _ in 0..next(40) {
                match next(8) {
                    6 => text.push_str(["%61", "%62", "%4", "%"][next(4)]),
                    7 => text.push_str("h%75nter2%21"),
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
        assert_eq!(
            stream.push(b"listening on :3000\n"),
            b"listening on :3000\n"
        );
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
