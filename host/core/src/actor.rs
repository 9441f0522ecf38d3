//! Who starts a run or holds a lease.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Somebody who acts: a process, or a name whose process cannot be looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Actor {
    /// For a person: user@machine and pid, and the CI job. Empty where nobody
    /// said it.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
}

/// Which process, among those of all machines and containers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProcessId {
    pub machine: String,
    pub pid: i32,
    /// Where the pid means something: this start of the machine, and its
    /// container. Two containers may have one name. None on a system without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
}

impl Actor {
    /// A lease of theirs is waited for until it expires.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            process: None,
        }
    }

    /// One line, for where a lease is kept.
    pub fn to_line(&self) -> String {
        // Strings and a number always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The reverse of [`Self::to_line`]. Any other text is a name.
    pub fn from_line(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|_| Self::named(line))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl From<&str> for Actor {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_all_of_it_and_other_text_is_a_name() {
        let mut actor = Actor::named("ada@desk pid 7 github run 5\nx");
        for space in [None, Some("0-1".to_owned())] {
            actor.process = Some(ProcessId {
                machine: "desk".to_owned(),
                pid: 7,
                space,
            });
            let line = actor.to_line();
            assert_eq!(line.lines().count(), 1, "{line}");
            assert_eq!(Actor::from_line(&line), actor);
        }
        for text in ["", "ada@desk pid 7", "{}", "7"] {
            assert_eq!(Actor::from_line(text), Actor::named(text));
        }
    }
}
