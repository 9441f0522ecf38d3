//! Text from elsewhere, made safe to print. What a plugin, a target, a platform
//! or a file says may hold characters that move a cursor, hide text, change a
//! title or turn the reading direction. Nothing of that reaches a screen.
//!
//! Every door to a screen calls this: `cli::terminal`, `report::Sink`, the live
//! line, the JUnit file. JSON is data: there the same characters are escaped.

use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// `text` as one line. Escape codes and invisible characters are dropped; line
/// ends and tabs become spaces. The text may be of several authors, so nothing
/// between two escape codes is dropped.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return without_marks(Cow::Borrowed(text));
    }
    let text = text.trim_end_matches(['\r', '\n']);
    without_marks(Cow::Owned(cleaned(text, |chars| skip_escape(chars, false))))
}

/// What a CI runner takes for a command wherever it stands in a line.
const MARKS: [&str; 3] = ["##[", "##vso[", "##teamcity["];

/// The same text, in which no runner finds a command.
fn without_marks(text: Cow<'_, str>) -> Cow<'_, str> {
    if !MARKS.iter().any(|mark| text.contains(mark)) {
        return text;
    }
    let broken = |text: String, mark: &&str| {
        text.replace(
            *mark,
            &format!("# {}", mark.strip_prefix('#').unwrap_or(mark)),
        )
    };
    Cow::Owned(MARKS.iter().fold(text.into_owned(), broken))
}

/// A line of a command's output, which has one author. Of what was redrawn with
/// carriage returns the last state stays; titles and links are dropped whole.
pub fn output(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return without_marks(Cow::Borrowed(text));
    }
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    without_marks(Cow::Owned(cleaned(text, |chars| skip_escape(chars, true))))
}

/// The same, cut to `most` characters.
pub fn short(text: &str, most: usize) -> String {
    let text = line(text);
    match text.char_indices().nth(most) {
        None => text.into_owned(),
        Some(_) => {
            let cut: String = text.chars().take(most.saturating_sub(1)).collect();
            format!("{cut}…")
        }
    }
}

/// A block of lines: line ends stay, each line is clean.
pub fn block(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|char| char != '\n' && is_unsafe(char)) {
        return without_marks(Cow::Borrowed(text));
    }
    let lines = text.split('\n').map(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        cleaned(line, |chars| skip_escape(chars, false))
    });
    without_marks(Cow::Owned(lines.collect::<Vec<_>>().join("\n")))
}

/// A line that already holds the host's own colours: those stay.
pub fn painted(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let (before, from) = rest.split_at(at);
        clean.push_str(&block(before).replace('\n', " "));
        let colour = COLOURS.iter().find(|colour| from.starts_with(**colour));
        let colour = colour.copied().unwrap_or_default();
        clean.push_str(colour);
        rest = from.get(colour.len().max(1)..).unwrap_or_default();
    }
    clean.push_str(&block(rest).replace('\n', " "));
    Cow::Owned(clean)
}

/// What the reports and the diagnostics paint with.
const COLOURS: [&str; 10] = [
    "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[3m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[34m",
    "\x1b[35m", "\x1b[36m",
];

/// JSON in one line of printable characters: what a terminal would act on is
/// escaped, so the value stays what it is.
pub fn json(value: &Value) -> String {
    json_text(&value.to_string())
}

/// The same for JSON that is text already. Outside of its strings JSON has none
/// of these characters but spaces and line ends, which stay.
pub fn json_text(json: &str) -> String {
    // A CI runner takes `##[` for a command, wherever it stands.
    let json = json
        .replace("##[", "##\\u005b")
        .replace("##vso[", "##vso\\u005b")
        .replace("##teamcity[", "##teamcity\\u005b");
    escaped(&json, |out, char| {
        for unit in char.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// A string of TOML in its quotes.
pub fn toml_string(text: &str) -> String {
    // JSON's escapes are TOML's, but for pairs of surrogates.
    escaped(&Value::from(text).to_string(), |out, char| {
        let _ = write!(out, "\\U{:08x}", u32::from(char));
    })
}

fn escaped(text: &str, escape: impl Fn(&mut String, char)) -> String {
    let mut clean = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => clean.push('\n'),
            char if is_unsafe(char) => escape(&mut clean, char),
            char => clean.push(char),
        }
    }
    clean
}

fn cleaned(text: &str, escape: impl Fn(&mut Peekable<Chars<'_>>)) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\x1b' => escape(&mut chars),
            char if is_space(char) => clean.push(' '),
            char if is_unsafe(char) => {}
            char => clean.push(char),
        }
    }
    clean
}

/// What moves on in the text without being seen: a word must not run into the
/// next one.
fn is_space(char: char) -> bool {
    matches!(
        char,
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Control characters, characters that turn the reading direction, and those
/// that nobody sees.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Behind ESC. `with_strings`: a title or a link is dropped with its text where
/// its end is there; else only what begins it.
fn skip_escape(chars: &mut Peekable<Chars<'_>>, with_strings: bool) {
    match chars.peek() {
        // CSI: parameters, intermediate characters, one final character.
        Some('[') => {
            chars.next();
            while chars.next_if(|c| ('\x30'..='\x3f').contains(c)).is_some() {}
            while chars.next_if(|c| ('\x21'..='\x2f').contains(c)).is_some() {}
            chars.next_if(|c| ('\x40'..='\x7e').contains(c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            if with_strings && let Some(rest) = behind_string(chars.clone()) {
                *chars = rest;
            }
        }
        // A character set, or a single letter.
        Some('(' | ')' | '*' | '+') => {
            chars.next();
            chars.next_if(char::is_ascii_alphanumeric);
        }
        Some(c) if c.is_ascii_alphanumeric() || matches!(c, '=' | '>' | '<' | '|' | '}' | '~') => {
            chars.next();
        }
        _ => {}
    }
}

/// Behind BEL or ESC \; none without such an end.
fn behind_string(mut chars: Peekable<Chars<'_>>) -> Option<Peekable<Chars<'_>>> {
    while let Some(char) = chars.next() {
        match char {
            '\x07' => return Some(chars),
            '\x1b' => {
                chars.next_if_eq(&'\\');
                return Some(chars);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Characters that must reach no screen.
    const HOSTILE: &str = "\0\x07\x08\x0b\x0c\r\x0e\x1b\x7f\u{80}\u{85}\u{9b}\u{ad}\u{200b}\
        \u{200d}\u{200e}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\
        \u{e0041}";

    #[test]
    fn a_line_is_nothing_but_text() {
        let cases = [
            ("plain ü ✓ 漢字 é", "plain ü ✓ 漢字 é"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b[38;5;1mred\x1b[?25l", "red"),
            // Between two authors' texts: what stands there is the host's.
            ("name\x1b]0; refused: why\x07", "name0; refused: why"),
            ("\x1b(Ba\x1b7b\x1bcc", "abc"),
            ("a\tb\nc\x07\u{202e}d", "a b cd"),
            ("a\rb\u{2028}c\u{85}d\r\n", "a b c d"),
            ("cut \x1b[3", "cut "),
            ("cut \x1b", "cut "),
            ("a\x1b[ b", "a b"),
            ("x\u{9b}8mhidden", "x8mhidden"),
        ];
        for (text, expected) in cases {
            assert_eq!(line(text), expected, "{text:?}");
        }
        let text = format!("a{HOSTILE}b");
        assert!(!line(&text).chars().any(is_unsafe));
    }

    #[test]
    fn a_line_is_cut_in_characters() {
        assert_eq!(short("äöü\n", 3), "äöü");
        assert_eq!(short("äöüß", 3), "äö…");
        assert_eq!(short("", 0), "");
    }

    #[test]
    fn a_block_keeps_its_lines_and_all_of_its_text() {
        assert_eq!(block("a\r\n\tb\n"), "a\n b\n");
        assert_eq!(block("\x1b[31mred\x1b[0m\nb"), "red\nb");
        let text = format!("a\n{HOSTILE}\nb");
        let clean = block(&text);
        assert_eq!(clean.lines().count(), 3, "{clean:?}");
        assert!(!clean.chars().any(|c| c != '\n' && is_unsafe(c)));
    }

    #[test]
    fn only_the_own_colours_stay() {
        let text = "\x1b[31mred\x1b[0m \x1b[8mhidden\x1b]0;t\x07\na";
        assert_eq!(painted(text), "\x1b[31mred\x1b[0m [8mhidden]0;t a");
        assert_eq!(painted("plain"), "plain");
    }

    #[test]
    fn a_runner_finds_no_command_in_the_middle_of_a_line() {
        for clean in [line, output, block] {
            assert_eq!(clean("a ##vso[x]y ##[z]"), "a # #vso[x]y # #[z]");
            assert_eq!(clean("\u{1b}[1ma ##teamcity[x]"), "a # #teamcity[x]");
        }
        assert_eq!(json_text("\"##vso[x]\""), "\"##vso\\u005bx]\"");
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = json!({ "a": format!("x{HOSTILE}y ##[set]"), "b": ["漢", 1] });
        let text = json(&value);
        assert!(!text.chars().any(is_unsafe), "{text}");
        assert!(!text.contains("##["), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        let toml = format!("a = {}", toml_string(&value["a"].to_string()));
        let table: toml::Table = toml.parse().unwrap();
        assert_eq!(table["a"].as_str().unwrap(), value["a"].to_string());
        assert_eq!(json_text("{\n \"a\": 1}\n"), "{\n \"a\": 1}\n");
    }

    #[test]
    fn of_output_the_last_state_stays() {
        let cases = [
            ("10%\r 50%\r100%\r\n", "100%"),
            ("plain", "plain"),
            ("\x1b[32mok\x1b[0m", "ok"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            // A string without an end hides nothing.
            ("a\x1b]0;b; c", "a0;b; c"),
        ];
        for (text, expected) in cases {
            assert_eq!(output(text), expected, "{text:?}");
        }
    }
}
