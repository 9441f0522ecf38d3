//! Whether a node version satisfies `.nvmrc` and the ranges of `engines`.
//! Understands the common forms of npm ranges; returns none for others.

/// A version, and how many of its numbers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    given: usize,
}

impl Version {
    /// `v20.11.1`, `20`, `20.x`; none for words and pre-releases.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['v', '=']);
        let mut version = Self {
            numbers: [0; 3],
            given: 0,
        };
        if matches!(text, "*" | "x" | "X") {
            return Some(version);
        }
        for part in text.split('.') {
            if matches!(part, "x" | "X" | "*") {
                break;
            }
            *version.numbers.get_mut(version.given)? = part.parse().ok()?;
            version.given += 1;
        }
        (version.given > 0).then_some(version)
    }

    /// The first version after all that begin with the given numbers.
    fn next(self, keep: usize) -> [u64; 3] {
        let mut next = [0; 3];
        for (index, number) in self.numbers.iter().enumerate().take(keep) {
            if let Some(slot) = next.get_mut(index) {
                *slot = *number;
            }
        }
        match keep.checked_sub(1).and_then(|last| next.get_mut(last)) {
            Some(last) => *last += 1,
            None => next = [u64::MAX; 3],
        }
        next
    }
}

/// Whether `version` (as `node --version` prints it) is in `range`. None when
/// one of them is not understood, for example `lts/*`.
pub fn fits(version: &str, range: &str) -> Option<bool> {
    let version = Version::parse(version).filter(|v| v.given == 3)?.numbers;
    let mut fits = false;
    for alternative in range.split("||") {
        fits |= all(version, alternative)?;
    }
    Some(fits)
}

fn all(version: [u64; 3], range: &str) -> Option<bool> {
    if let Some((from, to)) = range.split_once(" - ") {
        let (from, to) = (Version::parse(from)?, Version::parse(to)?);
        return Some(version >= from.numbers && version < to.next(to.given));
    }
    // `>= 18` is valid too.
    let mut range = range.trim().to_owned();
    for op in [">=", "<=", ">", "<", "^", "~"] {
        range = range.replace(&format!("{op} "), op);
    }
    let mut fits = true;
    for part in range.split_whitespace() {
        fits &= one(version, part)?;
    }
    Some(fits)
}

fn one(version: [u64; 3], part: &str) -> Option<bool> {
    let ops = [">=", "<=", ">", "<", "^", "~"];
    let (op, rest) = ops
        .iter()
        .find_map(|op| part.strip_prefix(op).map(|rest| (*op, rest)))
        .unwrap_or(("", part));
    let wanted = Version::parse(rest)?;
    let from = wanted.numbers;
    let upto = |keep: usize| version >= from && version < wanted.next(keep);
    Some(match op {
        ">=" => version >= from,
        "<" => version < from,
        ">" if wanted.given == 3 => version > from,
        ">" => version >= wanted.next(wanted.given),
        "<=" => version < wanted.next(wanted.given),
        "^" => upto(match from {
            [0, 0, _] => wanted.given,
            [0, _, _] => wanted.given.min(2),
            _ => wanted.given.min(1),
        }),
        "~" => upto(wanted.given.min(2)),
        _ => upto(wanted.given),
    })
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn the_common_forms_are_understood() {
        for (range, fitting, other) in [
            ("20", "v20.11.1", "v22.0.0"),
            ("v20.11", "v20.11.9", "v20.12.0"),
            ("v20.11.1", "v20.11.1", "v20.11.2"),
            (">=20", "v22.1.0", "v18.20.4"),
            (">= 20.5", "v20.5.0", "v20.4.9"),
            (">18", "v19.0.0", "v18.20.4"),
            ("<=20", "v20.99.0", "v21.0.0"),
            (">=18 <21", "v20.0.0", "v21.0.0"),
            ("^20.5.1", "v20.6.0", "v21.0.0"),
            ("~20.5", "v20.5.9", "v20.6.0"),
            ("20.x", "v20.1.0", "v21.1.0"),
            ("18.x || >=22", "v22.3.0", "v20.0.0"),
            ("18 - 20", "v20.9.0", "v21.0.0"),
        ] {
            assert_eq!(fits(fitting, range), Some(true), "{fitting} {range}");
            assert_eq!(fits(other, range), Some(false), "{other} {range}");
        }
        assert_eq!(fits("v20.0.0", "*"), Some(true));
    }

    #[test]
    fn an_unknown_form_is_not_judged() {
        for range in ["lts/*", "lts/iron", "node", ">=20.0.0-rc.1", "20.1.2.3"] {
            assert_eq!(fits("v20.0.0", range), None, "{range}");
        }
        assert_eq!(fits("", ">=20"), None);
    }
}
