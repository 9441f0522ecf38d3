//! The patterns of scripted commands.

/// Whether the words of `pattern` match an argument list: `*` is one argument
/// or a part of one, `**` is any number of arguments.
pub(super) fn argv_matches(pattern: &str, argv: &[&str]) -> bool {
    let words: Vec<&str> = pattern.split_whitespace().collect();
    words_match(&words, argv)
}

fn words_match(words: &[&str], argv: &[&str]) -> bool {
    match words.split_first() {
        None => argv.is_empty(),
        Some((&"**", rest)) => {
            (0..=argv.len()).any(|skip| words_match(rest, argv.get(skip..).unwrap_or_default()))
        }
        Some((word, rest)) => argv.split_first().is_some_and(|(arg, argv)| {
            glob_matches(word.as_bytes(), arg.as_bytes()) && words_match(rest, argv)
        }),
    }
}

fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => {
            (0..=text.len()).any(|skip| glob_matches(rest, text.get(skip..).unwrap_or_default()))
        }
        [first, rest @ ..] => text
            .split_first()
            .is_some_and(|(head, text)| head == first && glob_matches(rest, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_match_arguments() {
        assert!(argv_matches("git **", &["git", "rev-parse", "HEAD"]));
        assert!(argv_matches("git **", &["git"]));
        assert!(argv_matches("git * HEAD", &["git", "rev-parse", "HEAD"]));
        assert!(!argv_matches("git *", &["git", "rev-parse", "HEAD"]));
        assert!(!argv_matches("npm ci", &["npm", "install"]));
        assert!(argv_matches(
            "git config core.*",
            &["git", "config", "core.bare"]
        ));
    }
}
