//! `Host` and `Match`: whether the lines below apply to this host.

use super::lexer::keyword;
use super::pattern;

pub(super) struct MatchContext<'s> {
    /// The host as the user named it.
    pub(super) named: &'s str,
    /// Its name so far, in lower case.
    pub(super) host: &'s str,
    /// The remote user so far.
    pub(super) user: &'s str,
    pub(super) local_user: &'s str,
    /// Whether this is the second pass over the files.
    pub(super) last_pass: bool,
}

#[derive(PartialEq, Eq, Debug)]
pub(super) enum Matched {
    Yes,
    No,
    /// It has a condition that vdeploy does not evaluate; its block is skipped.
    Unsupported(String),
}

/// `Host`: one pattern matches and none with `!`.
pub(super) fn host(named: &str, patterns: &[String]) -> bool {
    pattern::matches_list(named, patterns.iter().map(String::as_str))
}

/// `Match`. Sets `asks_last` when a second pass is needed.
pub(super) fn matched(
    text: &str,
    subject: &MatchContext<'_>,
    asks_last: &mut bool,
) -> Result<Matched, String> {
    let mut rest = text;
    let mut result = Matched::Yes;
    let mut conditions = 0;
    while let Some((word, after)) = keyword(rest) {
        rest = after;
        let (not, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word.as_str()),
        };
        conditions += 1;
        if name == "all" {
            let alone = conditions == 1 && keyword(rest).is_none();
            return match (alone, not) {
                (false, _) => Err("`all` stands alone in a Match line".to_owned()),
                (true, false) => Ok(Matched::Yes),
                (true, true) => Ok(Matched::No),
            };
        }
        let holds = if matches!(name, "final" | "canonical") {
            *asks_last |= name == "final";
            subject.last_pass
        } else {
            let (argument, after) = argument(rest);
            rest = after;
            if argument.is_empty() {
                return Err(format!("`Match {name}` has no argument"));
            }
            let any = |text: &str| pattern::matches_list(text, argument.split(','));
            match name {
                "host" => pattern::matches_list(
                    &subject.host.to_lowercase(),
                    argument.to_lowercase().split(','),
                ),
                "originalhost" => pattern::matches_list(
                    &subject.named.to_lowercase(),
                    argument.to_lowercase().split(','),
                ),
                "user" => any(subject.user),
                "localuser" => any(subject.local_user),
                other => {
                    result = Matched::Unsupported(other.to_owned());
                    continue;
                }
            }
        };
        if holds == not && result == Matched::Yes {
            result = Matched::No;
        }
        // One false condition decides, whatever is not evaluated.
        if holds == not {
            return Ok(Matched::No);
        }
    }
    match conditions {
        0 => Err("a Match line without a condition".to_owned()),
        _ => Ok(result),
    }
}

/// The next word, quoted or not, and the text after it.
fn argument(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').unwrap_or((quoted, ""));
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    match text.starts_with('#') {
        true => ("", ""),
        false => text.split_at(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_all_asked() {
        let subject = MatchContext {
            named: "Web",
            host: "web.example.com",
            user: "deploy",
            local_user: "me",
            last_pass: false,
        };
        let exec = Matched::Unsupported("exec".to_owned());
        for (text, expected) in [
            ("all", Matched::Yes),
            ("!all", Matched::No),
            ("host *.example.com", Matched::Yes),
            ("host web", Matched::No),
            ("originalhost web", Matched::Yes),
            ("originalhost web,!w* user deploy", Matched::No),
            ("user deploy localuser me", Matched::Yes),
            ("user deploy localuser you", Matched::No),
            ("!user root # comment", Matched::Yes),
            ("final", Matched::No),
            ("!final host=web.*", Matched::Yes),
            ("host \"web.example.com\"", Matched::Yes),
            ("exec \"test -f /x\"", exec),
            ("exec \"test -f /x\" user root", Matched::No),
        ] {
            let found = matched(text, &subject, &mut false).unwrap();
            assert_eq!(found, expected, "{text}");
        }
        for wrong in ["", "all user me", "user", "host # x"] {
            assert!(matched(wrong, &subject, &mut false).is_err(), "{wrong}");
        }
    }
}
