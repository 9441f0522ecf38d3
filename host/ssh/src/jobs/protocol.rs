//! Separates the script's lines from the command's output. Pure.
//!
//! A line of the script begins with a mark: a byte that text rarely has and a
//! random word. It may come anywhere, even in the middle of a line of the
//! command.

/// Begins a mark (ASCII record separator).
const FIRST: u8 = 0x1e;
/// Bytes; a longer line is not the script's.
const LONGEST: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Printed by the command, or by the login shell before the first line.
    Bytes(&'a [u8]),
    /// A line of the script, without mark and line end.
    Line(String),
}

/// The mark of one command on one connection.
pub(super) fn mark() -> String {
    let word = ulid::Ulid::generate();
    format!("{}{word}", char::from(FIRST))
}

/// Finds marked lines in one output.
pub(super) struct MarkedLines {
    /// The mark and the space after it.
    mark: Vec<u8>,
    /// The beginning of a possible marked line.
    held: Vec<u8>,
}

impl MarkedLines {
    pub(super) fn new(mark: &str) -> Self {
        Self {
            mark: format!("{mark} ").into_bytes(),
            held: Vec::new(),
        }
    }

    /// Passes on the pieces of `bytes` and of the bytes held back before.
    pub(super) fn push(&mut self, bytes: &[u8], mut piece: impl FnMut(Piece<'_>)) {
        if self.held.is_empty() {
            let rest = self.take(bytes, &mut piece);
            self.held = rest.to_vec();
        } else {
            let mut all = std::mem::take(&mut self.held);
            all.extend_from_slice(bytes);
            let rest = self.take(&all, &mut piece);
            self.held = rest.to_vec();
        }
    }

    /// The bytes held back: at the end of the output they are the command's.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Returns the bytes that are undecided yet.
    fn take<'a>(&self, bytes: &'a [u8], piece: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let mut rest = bytes;
        let mut from = 0;
        while let Some(at) = rest.iter().skip(from).position(|b| *b == FIRST) {
            let (before, line) = rest.split_at(from + at);
            let known = line.len().min(self.mark.len());
            if line.get(..known) != self.mark.get(..known) {
                from += at + 1;
                continue;
            }
            let end = line.iter().position(|b| *b == b'\n');
            let Some(end) = end else {
                if line.len() > LONGEST {
                    from += at + 1;
                    continue;
                }
                if !before.is_empty() {
                    piece(Piece::Bytes(before));
                }
                return line;
            };
            if !before.is_empty() {
                piece(Piece::Bytes(before));
            }
            let said = line.get(self.mark.len()..end).unwrap_or_default();
            piece(Piece::Line(String::from_utf8_lossy(said).into_owned()));
            rest = line.get(end + 1..).unwrap_or_default();
            from = 0;
        }
        if !rest.is_empty() {
            piece(Piece::Bytes(rest));
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "\u{1e}WORD";

    fn taken(pieces: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let mut marks = MarkedLines::new(MARK);
        let (mut out, mut lines) = (Vec::new(), Vec::new());
        for bytes in pieces {
            marks.push(bytes, |piece| match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Line(line) => lines.push(line),
            });
        }
        out.extend(marks.rest());
        (out, lines)
    }

    #[test]
    fn lines_are_taken_out_wherever_they_stand_and_are_cut() {
        let all = b"noise\n\x1eWORD begin\nout \x1e\x1eWORX \x1eWORD gone\nput\x1eWORD end 0\n";
        let expected = (
            b"noise\nout \x1e\x1eWORX put".to_vec(),
            vec!["begin".to_owned(), "gone".to_owned(), "end 0".to_owned()],
        );
        for at in 0..=all.len() {
            let (a, b) = all.split_at(at);
            assert_eq!(taken(&[a, b]), expected, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(taken(&bytes), expected);
    }

    #[test]
    fn what_only_looks_like_a_line_is_output() {
        let long = [b"\x1eWORD ".as_slice(), &[b'x'; LONGEST]].concat();
        for text in [&b"a\x1e"[..], b"\x1eWORD half", b"\x1eWOR\n", &long] {
            assert_eq!(taken(&[text]), (text.to_vec(), vec![]));
        }
    }
}
