//! Keeps the first and the last half of an output in bounded memory. Pure.

use std::collections::VecDeque;

#[derive(Debug)]
pub struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_limit: usize,
    tail_limit: usize,
    dropped: u64,
}

impl Capture {
    /// Keeps at most `limit` bytes: the first half and the last half.
    pub fn new(limit: usize) -> Self {
        let tail_limit = limit / 2;
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            head_limit: limit - tail_limit,
            tail_limit,
            dropped: 0,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.head_limit - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        // Of a piece longer than the tail, only its end fits.
        let skip = rest.len().saturating_sub(self.tail_limit);
        let (_, end) = rest.split_at(skip);
        let over = (self.tail.len() + end.len()).saturating_sub(self.tail_limit);
        self.tail.drain(..over);
        self.tail.extend(end);
        self.dropped += (skip + over) as u64;
    }

    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.dropped == 0
    }

    /// Whether bytes in the middle were dropped.
    pub fn truncated(&self) -> bool {
        self.dropped > 0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head;
        bytes.reserve_exact(self.tail.len());
        let (a, b) = self.tail.as_slices();
        bytes.extend_from_slice(a);
        bytes.extend_from_slice(b);
        bytes
    }

    /// The last `lines` lines as one line of text for a message, at most 400
    /// characters, without control characters.
    pub fn last_lines(&self, lines: usize) -> String {
        const LONGEST: usize = 400;
        let end: Vec<u8> = self
            .head
            .iter()
            .chain(self.tail.iter())
            .copied()
            .skip((self.head.len() + self.tail.len()).saturating_sub(4 * LONGEST))
            .collect();
        let text = String::from_utf8_lossy(&end);
        let mut last: Vec<&str> = text
            .lines()
            .rev()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .take(lines)
            .collect();
        last.reverse();
        let joined = last.join(" | ");
        let clean: Vec<char> = joined.chars().filter(|c| !c.is_control()).collect();
        let skip = clean.len().saturating_sub(LONGEST);
        clean.into_iter().skip(skip).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(limit: usize, pieces: &[&str]) -> (String, bool) {
        let mut c = Capture::new(limit);
        for p in pieces {
            c.push(p.as_bytes());
        }
        let truncated = c.truncated();
        (String::from_utf8(c.into_bytes()).unwrap(), truncated)
    }

    #[test]
    fn output_within_the_limit_is_kept_whole() {
        assert_eq!(captured(6, &["ab", "cd", "ef"]), ("abcdef".into(), false));
        assert_eq!(captured(5, &["abcde"]), ("abcde".into(), false));
    }

    #[test]
    fn of_longer_output_both_ends_stay_however_it_is_cut() {
        let all = "0123456789";
        assert_eq!(captured(4, &[all]), ("0189".into(), true));
        let bytes: Vec<String> = all.chars().map(String::from).collect();
        let pieces: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(captured(4, &pieces), ("0189".into(), true));
        assert_eq!(captured(4, &["012", "3456", "789"]), ("0189".into(), true));
    }

    #[test]
    fn odd_and_zero_limits_hold() {
        assert_eq!(captured(5, &["0123456789"]), ("01289".into(), true));
        assert_eq!(captured(1, &["0123"]), ("0".into(), true));
        assert_eq!(captured(0, &["x"]), (String::new(), true));
        assert_eq!(captured(0, &[""]), (String::new(), false));
    }

    #[test]
    fn memory_stays_flat_for_a_long_output() {
        let mut c = Capture::new(1024);
        let piece = vec![b'x'; 32 * 1024];
        for _ in 0..3_200 {
            c.push(&piece);
        }
        assert!(c.head.capacity() + c.tail.capacity() < 8 * 1024);
        assert_eq!(c.into_bytes().len(), 1024);
    }

    #[test]
    fn the_last_lines_span_head_and_tail_and_lose_control_characters() {
        let mut c = Capture::new(1024);
        c.push(b"one\ntwo\n\n\x1b[31mthree\n");
        assert_eq!(c.last_lines(2), "two | [31mthree");
    }
}
