//! Patterns with `*` for any characters, as every scope uses them.

/// Whether `pattern` matches all of `text`. `*` stands for any characters,
/// also none; everything else stands for itself.
///
/// With a pattern as `text` this answers whether `pattern` covers it: a `*`
/// in `text` is matched by a `*` only.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and how far it reached.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(want) if want == c => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reached)) => {
                    p = at + 1;
                    t = reached + 1;
                    star = Some((at, reached + 1));
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .is_none_or(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_characters_also_none() {
        for (pattern, text) in [
            ("", ""),
            ("git", "git"),
            ("*", ""),
            ("*", "any thing"),
            ("a*c", "ac"),
            ("a*c", "abbc"),
            ("a*b*c", "aXbYbZc"),
            ("*.js", "server.js"),
            ("é*", "éa"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("git", "gi"),
            ("git", "gitk"),
            ("a*c", "abcd"),
            ("a*c", "bac"),
            ("*.js", "server.jsx"),
            ("a*b*c", "acb"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_covers_a_narrower_pattern_only() {
        assert!(matches("*", "a*"));
        assert!(matches("a*", "a*b"));
        assert!(matches("a*", "a*"));
        assert!(!matches("a*b", "a*"));
        assert!(!matches("a", "*"));
    }
}
