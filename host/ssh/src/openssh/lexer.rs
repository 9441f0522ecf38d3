//! Splits one line of `ssh_config` as OpenSSH does.

/// The keyword in lower case, and the text after it and its `=`.
pub(super) fn keyword(line: &str) -> Option<(String, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=' || c == '"');
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    Some((word.to_ascii_lowercase(), rest))
}

/// Words with quotes and backslashes, up to a word that begins with `#`. `None`
/// when a quote is not closed.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        match chars.peek() {
            None | Some('#') => return Some(words),
            Some(_) => {}
        }
        let (mut word, mut quote) = (String::new(), None);
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) => match chars.peek().copied() {
                    Some(next @ ('\'' | '"' | '\\')) => {
                        word.push(next);
                        chars.next();
                    }
                    Some(' ') if quote.is_none() => {
                        word.push(' ');
                        chars.next();
                    }
                    _ => word.push(c),
                },
                (' ' | '\t', None) => break,
                ('\'' | '"', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyword_and_rest() {
        for (line, expected) in [
            ("Host a b", Some(("host", "a b"))),
            ("  Port=22", Some(("port", "22"))),
            ("User = me", Some(("user", "me"))),
            ("IdentityFile\t\"a b\"", Some(("identityfile", "\"a b\""))),
            ("Host", Some(("host", ""))),
            ("# Host a", None),
            ("   ", None),
        ] {
            let found = keyword(line);
            let found = found.as_ref().map(|(word, rest)| (word.as_str(), *rest));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn quotes_escapes_and_comments() {
        for (text, expected) in [
            ("a  b\tc", &["a", "b", "c"][..]),
            ("\"a b\" c", &["a b", "c"]),
            ("a' 'b", &["a b"]),
            (r#"a\ b "c\"d" e\f"#, &["a b", "c\"d", "e\\f"]),
            ("a #b", &["a"]),
            ("a#b", &["a#b"]),
            ("\"\" x", &["", "x"]),
            ("", &[]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        assert_eq!(words("\"open"), None);
    }
}
