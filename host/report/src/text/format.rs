//! Numbers, colours and tables as people read them.

use std::borrow::Cow;
use std::fmt::Write as _;
use unicode_width::UnicodeWidthStr as _;
use vdeploy_core::clean;

/// How good or bad a piece of text is; colours follow from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
}

impl Tone {
    /// The text in this tone's colour.
    pub fn paint(self, text: &str, colour: bool) -> Cow<'_, str> {
        let code = match self {
            _ if !colour || text.is_empty() => return Cow::Borrowed(text),
            Self::Plain => return Cow::Borrowed(text),
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
        };
        Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
    }
}

/// A duration: `35ms`, `1.2s`, `2m 05s`, `1h 02m`.
pub fn duration(ms: u64) -> String {
    let secs = ms / 1000;
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{secs}.{}s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m {:02}s", secs / 60, secs % 60),
        _ => format!("{}h {:02}m", secs / 3600, secs / 60 % 60),
    }
}

/// Time since the start: `02:05`, `1:02:05`.
pub fn elapsed(ms: u64) -> String {
    let secs = ms / 1000;
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{secs:02}")
    } else {
        format!("{minutes:02}:{secs:02}")
    }
}

/// How long ago: `12s`, `5m`, `3h`, `9d`.
pub fn age(ms: u64) -> String {
    let secs = ms / 1000;
    match secs {
        0..60 => format!("{secs}s"),
        60..3_600 => format!("{}m", secs / 60),
        3_600..86_400 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86_400),
    }
}

/// How much room: `512 B`, `12.3 KiB`, `1.1 MiB`.
pub fn size(bytes: u64) -> String {
    let mut unit = "B";
    let mut tenths = bytes.saturating_mul(10);
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// Left-aligned columns, two spaces apart, no space at the line's end. A cell is
/// one line, whatever it holds.
pub fn table<const N: usize>(rows: &[[String; N]], indent: &str) -> String {
    let rows = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| clean::line(cell)));
    let rows: Vec<_> = rows.collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| {
                let space = " ".repeat(width.saturating_sub(cell.width()));
                format!("{cell}{space}")
            })
            .collect();
        let _ = writeln!(
            out,
            "{}",
            format!("{indent}{}", cells.join("  ")).trim_end()
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_short() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (1_250, "1.2s"),
            (59_999, "59.9s"),
            (125_000, "2m 05s"),
            (3_725_000, "1h 02m"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(elapsed(125_999), "02:05");
        assert_eq!(elapsed(3_725_000), "1:02:05");
        assert_eq!(age(59_000), "59s");
        assert_eq!(age(90_000_000), "1d");
    }

    #[test]
    fn sizes_have_a_unit_that_fits() {
        let cases = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_153_434, "1.1 MiB"),
            (3 << 30, "3.0 GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let rows = [
            ["漢字".to_owned(), "a".to_owned()],
            ["x\ny\u{1b}[8m".to_owned(), "b".to_owned()],
            ["e\u{301}".to_owned(), "c".to_owned()],
        ];
        assert_eq!(table(&rows, " "), " 漢字  a\n x y   b\n e\u{301}     c\n");
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        assert_eq!(Tone::Bad.paint("x", true), "\x1b[31mx\x1b[0m");
        assert_eq!(Tone::Bad.paint("x", false), "x");
        assert_eq!(Tone::Plain.paint("x", true), "x");
    }
}
