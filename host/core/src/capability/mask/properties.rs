//! What masking promises, for secrets, encodings, wrappings and chunks that
//! nobody thought of.

use super::Masker;
use crate::capability::secrets::SecretValue;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use proptest::sample::Index;

/// At most so many characters in a row are left of a form, however wrapped: up
/// to three at the end of a line, and what encodes the text beside the secret.
const LEFT: usize = 12;

fn masker(secret: &str) -> Masker {
    Masker::new([&SecretValue::new(secret.to_owned())]).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The encodings of `secret`, some with other text around it, and whether only
/// white space may be put between its characters.
fn encoded(secret: &str, before: &str, how: usize) -> (String, bool) {
    let longer = format!("{before}{secret}{before}");
    match how {
        0 => (secret.to_owned(), true),
        1 => (STANDARD.encode(secret), false),
        2 => (URL_SAFE.encode(secret), false),
        3 => (STANDARD.encode(longer), false),
        4 => (URL_SAFE_NO_PAD.encode(longer), false),
        5 => (STANDARD_NO_PAD.encode(secret), false),
        6 => (hex(secret.as_bytes()), false),
        7 => (hex(secret.as_bytes()).to_uppercase(), false),
        8 => (
            secret.bytes().map(|b| format!("0x{b:02x},")).collect(),
            false,
        ),
        9 => (
            secret.bytes().map(|b| format!("\\x{b:02x}")).collect(),
            false,
        ),
        10 => (serde_json::Value::from(secret).to_string(), true),
        _ => (hex(longer.as_bytes()), false),
    }
}
const ENCODINGS: usize = 12;

fn wrapped(text: &str, width: usize, separator: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let lines: Vec<String> = chars
        .chunks(width)
        .map(|line| line.iter().collect())
        .collect();
    lines.join(separator)
}

fn without_separators(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && !":-,".contains(*c))
        .collect()
}

fn in_chunks(masker: &Masker, text: &str, cuts: &[Index]) -> String {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    let mut stream = masker.stream();
    let mut out = Vec::new();
    for pair in cuts.windows(2) {
        out.extend(stream.push(&text.as_bytes()[pair[0]..pair[1]]));
    }
    out.extend(stream.finish());
    String::from_utf8(out).unwrap()
}

/// The longest piece of `form` that stands in `text`.
fn longest_piece<'f>(form: &'f str, text: &str) -> &'f str {
    let mut longest = "";
    for start in 0..form.len() {
        while let Some(piece) = form.get(start..start + longest.len() + 1)
            && text.contains(piece)
        {
            longest = piece;
        }
    }
    longest
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(400))]

    /// The characters around are none of the encodings', so that nothing of
    /// them looks like a piece.
    #[test]
    fn no_wrapping_shows_a_secret(
        secret in "[a-zA-Z0-9_.+/=!#$%&*(){};<>?@^|~]{12,90}",
        before in "[§¶ ]{0,5}",
        (how, longer) in (0..ENCODINGS, "[a-z]{0,4}"),
        width in 1_usize..100,
        separator in prop::sample::select(vec![
            "\n", "\r\n", "\n    ", "\t", " ", "  ", " \n\t ", ":", "-", ", ", "", "%0A", "%20",
        ]),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        prop_assume!(super::strength(&secret) == super::Strength::Strong);
        let (form, plain) = encoded(&secret, &longer, how);
        // A readable form keeps its words apart, and a percent is one of its own.
        prop_assume!(!(plain && [":", "-", ", "].contains(&separator)));
        prop_assume!(!(separator.starts_with('%') && form.contains('%')));
        // A piece of a form that is cut smaller than a window by other characters
        // than separators is not found.
        let text = format!("§{before}{}{before}§\n", wrapped(&form, width, separator));
        let masker = masker(&secret);
        let whole = masker.mask(&text).into_owned();
        let bare = without_separators(&whole.replace("%0A", "").replace("%20", ""));
        let core = without_separators(&form);
        let piece = longest_piece(&core, &bare);
        prop_assert!(piece.len() <= LEFT, "{piece:?} of {form:?} in {whole:?}");
        prop_assert_eq!(in_chunks(&masker, &text, &cuts), whole);
    }

    /// However a stream is cut, it is masked like the whole.
    #[test]
    fn chunks_make_no_difference(
        secret in "[ab01%]{8,40}",
        words in prop::collection::vec("[ab01% \n:-]{0,12}", 0..12),
        width in 1_usize..30,
        how in 0..ENCODINGS,
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let (form, _) = encoded(&secret, "x", how);
        let masker = masker(&secret);
        let mut text = String::new();
        for (n, word) in words.iter().enumerate() {
            text.push_str(word);
            match n % 4 {
                1 => text.push_str(&wrapped(&form, width, "\n")),
                2 => text.push_str(&secret),
                _ => {}
            }
        }
        let whole = masker.mask(&text).into_owned();
        prop_assert_eq!(in_chunks(&masker, &text, &cuts), whole);
    }

    /// Other text stays as it is.
    #[test]
    fn text_without_the_secret_is_untouched(
        secret in "[a-zA-Z0-9_.]{12,60}",
        text in "[ -~\n\t§é]{0,300}",
    ) {
        prop_assume!(super::strength(&secret) == super::Strength::Strong);
        let masked = masker(&secret).mask(&text).into_owned();
        prop_assert_eq!(masked, text);
    }
}

proptest! {
    #![proptest_config(config(40))]

    /// Lines with words in front of them: a prefix of a log, a quoted letter.
    #[test]
    fn lines_are_found_by_themselves(
        secret in "[a-zA-Z0-9_.]{120,200}",
        how in 0..ENCODINGS,
        width in 48_usize..100,
        prefix in prop::sample::select(vec!["app | ", "> ", "2026-11-29T00:00:00Z web[1]: "]),
    ) {
        let (form, _) = encoded(&secret, "", how);
        // Four characters a byte: known whole only, see `Pieces::new`.
        prop_assume!(!form.starts_with("\\x") && !form.starts_with("0x"));
        let text = wrapped(&form, width, &format!("\n{prefix}"));
        let whole = masker(&secret).mask(&text).into_owned();
        // The last line may be shorter than what is known by itself.
        let lines: Vec<&str> = whole.lines().collect();
        let full = &lines[..lines.len() - 1];
        for line in full {
            let line = without_separators(line.trim_start_matches(prefix));
            let form = without_separators(&form);
            let piece = longest_piece(&form, &line);
            prop_assert!(piece.len() <= LEFT, "{piece:?} in {whole:?}");
        }
    }
}

#[test]
fn what_tools_print_of_a_long_secret_is_masked() {
    let token: String = (0..143_u32)
        .map(|n| char::from(b'a' + (n * 7 % 26) as u8))
        .collect();
    let token = token.replace("ab", "A1");
    let m = masker(&token);
    let base64 = STANDARD.encode(&token);
    for (name, text) in [
        ("base64", wrapped(&base64, 76, "\n")),
        ("openssl", wrapped(&base64, 64, "\n")),
        ("fold", wrapped(&token, 80, "\n")),
        ("xxd -p", wrapped(&hex(token.as_bytes()), 60, "\n")),
        ("colons", wrapped(&hex(token.as_bytes()), 2, ":")),
        (
            "JSON",
            serde_json::Value::from(wrapped(&base64, 76, "\n")).to_string(),
        ),
    ] {
        let masked = m.mask(&text).into_owned();
        let piece = longest_piece(&text, &masked);
        assert!(piece.len() < 16, "{name}: {masked}");
    }
}

/// Offset, digits in groups, and the text again: as `xxd` and `hexdump -C`.
#[test]
fn a_dump_shows_neither_the_digits_nor_the_text_beside_them() {
    let secret = "Tok3n_of-the=service.0123456789+ABCDEFGHIJ";
    let padded = format!("before it {secret} and after it more");
    for (group, joint, edge) in [(2, " ", ""), (1, " ", "|")] {
        let mut dump = String::new();
        for (n, line) in padded.as_bytes().chunks(16).enumerate() {
            let digits: Vec<String> = line.chunks(group).map(hex).collect();
            let text = String::from_utf8_lossy(line);
            dump.push_str(&format!(
                "{:08x}: {}  {edge}{text}{edge}\n",
                n * 16,
                digits.join(joint)
            ));
        }
        let masked = masker(secret).mask(&dump).into_owned();
        let piece = longest_piece(secret, &masked);
        assert!(piece.len() <= LEFT, "{piece}\n{masked}");
        let digits = hex(secret.as_bytes());
        let piece = longest_piece(&digits, &without_separators(&masked));
        assert!(piece.len() < 16, "{piece}\n{masked}");
        assert!(
            masked.contains("after it more") || masked.contains("more"),
            "{masked}"
        );
    }
}

#[test]
fn a_key_of_several_lines_is_masked_however_it_is_encoded() {
    let body: String = (0..200_u8)
        .map(|n| char::from(b'A' + n.wrapping_mul(11) % 26))
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
        wrapped(&body, 64, "\n")
    );
    let m = masker(&pem);
    for text in [
        pem.clone(),
        wrapped(&body, 76, "\n"),
        wrapped(&body, 40, "\n  "),
        wrapped(&STANDARD.encode(&pem), 76, "\n"),
        wrapped(&STANDARD.encode(wrapped(&body, 64, "\n")), 64, "\n"),
        serde_json::Value::from(pem.as_str()).to_string(),
        pem.lines().map(|line| format!("key: {line}\n")).collect(),
    ] {
        let masked = m.mask(&text).into_owned();
        let piece = longest_piece(&body, &without_separators(&masked));
        assert!(piece.len() < 8, "{piece}: {masked}");
        let piece = longest_piece(&text, &masked);
        assert!(piece.len() < 17, "{piece}: {masked}");
    }
}

#[test]
fn a_line_is_not_held_back_for_what_the_next_one_may_be() {
    let m = masker("Tok3n_of-the=service.0123456789+ABCDEFGHIJ");
    for line in [
        "listening on :3000\n",
        "npm ci\n",
        "T\n",
        "Tok\n",
        "done: 54\n",
    ] {
        let mut stream = m.stream();
        assert_eq!(
            String::from_utf8(stream.push(line.as_bytes())).unwrap(),
            line
        );
    }
    // What was shown is known all the same when the rest comes.
    let mut stream = m.stream();
    assert_eq!(stream.push(b"x Tok\n"), b"x Tok\n");
    let mut rest = stream.push(b"3n_of-the=service.\n0123456789+ABCDEFGHIJ y\n");
    rest.extend(stream.finish());
    assert_eq!(String::from_utf8(rest).unwrap(), "*** y\n");
}
