//! Patterns of hosts and users: `*`, `?`, lists, and `!` for "not".

/// Whether `text` matches one pattern.
pub(super) fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.chars().collect(), pattern.chars().collect());
    // Where to resume when the last `*` must match one character more.
    let (mut t, mut p, mut retry) = (0, 0, None);
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t + 1));
                p += 1;
            }
            Some(q) if q == c || *q == '?' => {
                t += 1;
                p += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    (p, t) = (after_star, from);
                    retry = Some((after_star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// Whether `text` matches one pattern of a list, and none with `!`.
pub(super) fn matches_list<'p>(text: &str, list: impl IntoIterator<Item = &'p str>) -> bool {
    let mut found = false;
    for pattern in list {
        match pattern.strip_prefix('!') {
            Some(not) if matches(text, not) => return false,
            Some(_) => {}
            None => found |= matches(text, pattern),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (text, pattern, expected) in [
            ("web1", "web?", true),
            ("web", "web?", false),
            ("web12", "web*", true),
            ("a.b.example.com", "*.example.com", true),
            ("example.com", "*.example.com", false),
            ("aXbXc", "a*b*c", true),
            ("ab", "a*b*c", false),
            ("", "*", true),
            ("", "", true),
            ("x", "", false),
            ("aaab", "*ab", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
    }

    #[test]
    fn a_negation_wins_and_does_not_match_by_itself() {
        for (text, list, expected) in [
            ("web1", "web*,!web2", true),
            ("web2", "web*,!web2", false),
            ("web2", "!web2,web*", false),
            ("db", "!web2", false),
        ] {
            assert_eq!(
                matches_list(text, list.split(',')),
                expected,
                "{text} {list}"
            );
        }
    }
}
