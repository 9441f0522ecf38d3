//! Text with its separators removed: what a program has wrapped, grouped or
//! indented is one piece again.

/// A longer run of separators ends a piece. An indentation is shorter.
pub(super) const LONGEST_GAP: usize = 32;
/// Stands for a longer run. No UTF-8 text has this byte.
const BREAK: u8 = 0xff;

/// What wraps lines and groups digits.
pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | b':' | b'-' | b',')
}

/// Bytes without separators, and where each of them was.
pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Joined {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut joined = Self {
            bytes: Vec::with_capacity(text.len()),
            starts: Vec::with_capacity(text.len()),
        };
        let mut gap = 0;
        for (at, byte) in text.iter().enumerate() {
            if !is_separator(*byte) {
                gap = 0;
                joined.push(*byte, at);
                continue;
            }
            gap += 1;
            if gap == LONGEST_GAP + 1 {
                joined.push(BREAK, at);
            }
        }
        joined
    }

    fn push(&mut self, byte: u8, at: usize) {
        self.bytes.push(byte);
        self.starts.push(at);
    }

    /// Where the byte with this index was.
    pub(super) fn start(&self, index: usize) -> usize {
        self.starts.get(index).copied().unwrap_or_default()
    }

    /// Where the byte with this index was; the end of `text` after the last.
    fn start_or_end(&self, index: usize, text: &[u8]) -> usize {
        self.starts.get(index).copied().unwrap_or(text.len())
    }

    /// Where `text` goes on after the last line break among the `most` bytes
    /// from `index` on; that byte's own place where there is none.
    pub(super) fn after_line_break(&self, index: usize, text: &[u8], most: usize) -> usize {
        let most = most.min(self.bytes.len().saturating_sub(index));
        let broken = (1..=most).rev().find_map(|count| {
            let from = self.start(index + count - 1);
            let to = self.start_or_end(index + count, text);
            let gap = text.get(from..to)?;
            gap.contains(&b'\n').then_some(to)
        });
        broken.unwrap_or_else(|| self.start(index))
    }
}
