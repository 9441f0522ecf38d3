//! Snapshots of the run's target. Scopes: `create`, `restore`.

use super::error::EffectError;
use super::grant::ScopeError;
use crate::ids::{SnapshotId, VmId};
use async_trait::async_trait;
use std::fmt::{self, Debug};

/// What a plugin may do with snapshots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SnapshotScope {
    /// Take one.
    Create,
    /// Make a VM from one, move the target there, pause the old VM.
    Restore,
}

impl SnapshotScope {
    /// Reads a scope. The error says how to write one.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        match text.trim() {
            "create" => Ok(Self::Create),
            "restore" => Ok(Self::Restore),
            _ => Err(ScopeError::new(format!(
                "snapshot scope \"{text}\" does not exist; write \"create\" or \"restore\""
            ))),
        }
    }

    /// Whether everything that `other` allows is allowed by this one.
    pub fn covers(self, other: Self) -> bool {
        self == other
    }

    /// The power as a sentence without a full stop.
    pub fn sentence(self) -> String {
        match self {
            Self::Create => "takes snapshots of the target".to_owned(),
            Self::Restore => {
                "restores a snapshot to a new VM and moves the target there".to_owned()
            }
        }
    }
}

impl fmt::Display for SnapshotScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Restore => "restore",
        })
    }
}

/// Says what is being waited for, for the screen.
pub trait Progress: Send + Sync {
    /// One line, present tense.
    fn doing(&self, text: &str);
    /// Something is not as it should be, and it goes on all the same.
    fn warn(&self, text: &str) {
        self.doing(text);
    }
}

/// Says nothing.
#[derive(Debug)]
pub struct NoProgress;
impl Progress for NoProgress {
    fn doing(&self, _: &str) {}
}

/// What became of a target that did not answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wake {
    /// Nothing is known of it.
    Unknown,
    /// It is not asleep; the text says what is known of it.
    NotNeeded(String),
    /// It answers now.
    Woken,
}

/// Takes and restores snapshots of the run's target.
#[async_trait]
pub trait Snapshot: Send + Sync + Debug {
    /// Takes one. `label` is stored with it and is how an unanswered call is
    /// found again.
    async fn create(&self, label: &str, progress: &dyn Progress)
    -> Result<SnapshotId, EffectError>;
    /// Makes a VM from it, waits until it is reached by SSH, and moves the
    /// run's target there.
    async fn restore(&self, id: &SnapshotId, progress: &dyn Progress) -> Result<VmId, EffectError>;
    /// Whether the platform knows it.
    async fn exists(&self, id: &SnapshotId) -> Result<bool, EffectError>;
    /// Pauses a VM that is no longer the run's target.
    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError>;
    /// Called when the target does not answer: has it go on where it is frozen
    /// and waits for it while it starts. The error names what is wrong with it.
    /// Without `change` it only looks.
    async fn wake(&self, _change: bool, _progress: &dyn Progress) -> Result<Wake, EffectError> {
        Ok(Wake::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_scopes_are_apart_and_read_back() {
        for scope in [SnapshotScope::Create, SnapshotScope::Restore] {
            assert_eq!(SnapshotScope::parse(&scope.to_string()).unwrap(), scope);
        }
        assert!(!SnapshotScope::Restore.covers(SnapshotScope::Create));
        let error = SnapshotScope::parse("creat").unwrap_err().to_string();
        assert!(error.contains("write \"create\" or \"restore\""), "{error}");
    }
}
