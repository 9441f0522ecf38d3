//! How much of a secret a value is. Somebody who has no token yet writes `none`
//! or `test`; to hide that word would only make every message unreadable.

/// How well a value can be told from other text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Strength {
    /// A word that stands in any output. It is not masked.
    Ordinary,
    /// It is masked, and other text may be with it: it is short, or made of
    /// words or digits only.
    Weak,
    /// Nothing else reads like it.
    Strong,
}

/// Values that people write where a secret is asked for, and words of the
/// messages.
const WORDS: [&str; 60] = [
    "admin",
    "auth",
    "changeme",
    "debug",
    "default",
    "demo",
    "deploy",
    "development",
    "disabled",
    "dummy",
    "empty",
    "enabled",
    "example",
    "fake",
    "false",
    "foobar",
    "guest",
    "infra",
    "key",
    "latest",
    "local",
    "localhost",
    "main",
    "master",
    "nil",
    "node",
    "none",
    "nothing",
    "null",
    "off",
    "optional",
    "pass",
    "passwd",
    "password",
    "placeholder",
    "prod",
    "production",
    "public",
    "root",
    "sample",
    "secret",
    "server",
    "service",
    "staging",
    "system",
    "temp",
    "test",
    "testing",
    "todo",
    "token",
    "true",
    "undefined",
    "unknown",
    "unset",
    "unused",
    "user",
    "value",
    "vdeploy",
    "vers",
    "void",
];
/// A shorter value is weak whatever it is made of.
const SHORT: usize = 8;
/// Digits alone must be so many: shorter ones are dates and numbers.
const DIGITS: usize = 16;
/// Words must be so long together: shorter ones are names of things.
const PHRASE: usize = 24;

/// How strong `value` is.
pub fn strength(value: &str) -> Strength {
    let lower = value.trim().to_ascii_lowercase();
    let length = lower.chars().count();
    if WORDS.contains(&lower.as_str()) {
        return Strength::Ordinary;
    }
    let all = |kind: fn(char) -> bool| value.trim().chars().all(kind);
    let is_word = |c: char| c.is_ascii_lowercase() || "-_./ ".contains(c);
    let is_name = |c: char| c.is_ascii_uppercase() || "-_./ ".contains(c);
    let weak = length < SHORT
        || (length < DIGITS && all(|c| c.is_ascii_digit() || "-_./: ".contains(c)))
        || (length < PHRASE && (all(is_word) || all(is_name)));
    match weak {
        true => Strength::Weak,
        false => Strength::Strong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_ordinary_and_short_or_plain_values_weak() {
        for value in ["none", "None", "TEST", "true", "password", " token "] {
            assert_eq!(strength(value), Strength::Ordinary, "{value}");
        }
        for value in [
            "s3cr3t",
            "0000",
            "xxxxxxxx",
            "2026-11-29",
            "12345678",
            "vers-agent-services",
            "agent_services",
            "MY_TOKEN_NAME",
        ] {
            assert_eq!(strength(value), Strength::Weak, "{value}");
        }
        for value in [
            "hunter2!",
            "e2e-token-0123456789-abcdef",
            "correct horse battery staple",
            "1234567890123456",
            "aBcDeFgH",
            "test-123",
        ] {
            assert_eq!(strength(value), Strength::Strong, "{value}");
        }
    }
}
