//! What a plugin may do with snapshots of its target. Pure.

use super::grants::ScopeError;
use std::fmt;

/// What a plugin may do with snapshots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SnapshotScope {
    /// Take one.
    Create,
    /// Make a VM from one, move the target there, pause the old VM.
    Restore,
    /// Make one by its own means: change the target for it while none stands,
    /// and say when it does.
    SelfManaged,
}

impl SnapshotScope {
    /// Reads a scope. The error says how to write one.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        match text.trim() {
            "create" => Ok(Self::Create),
            "restore" => Ok(Self::Restore),
            "self-managed" => Ok(Self::SelfManaged),
            _ => Err(ScopeError::new(format!(
                "snapshot scope \"{text}\" does not exist; write \"create\", \"restore\" or \"self-managed\""
            ))),
        }
    }

    /// The power as a sentence without a full stop.
    pub fn sentence(self) -> String {
        match self {
            Self::Create => "takes snapshots of the target".to_owned(),
            Self::Restore => {
                "restores a snapshot to a new VM and moves the target there".to_owned()
            }
            Self::SelfManaged => {
                "CHANGES the target before a snapshot stands, within its ssh grants, \
                          and says itself when its own snapshot does"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for SnapshotScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Restore => "restore",
            Self::SelfManaged => "self-managed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scopes_read_back() {
        let scopes = [
            SnapshotScope::Create,
            SnapshotScope::Restore,
            SnapshotScope::SelfManaged,
        ];
        for scope in scopes {
            assert_eq!(SnapshotScope::parse(&scope.to_string()).unwrap(), scope);
        }
        let error = SnapshotScope::parse("creat").unwrap_err().to_string();
        assert!(error.contains("\"restore\" or \"self-managed\""), "{error}");
    }
}
