//! Snapshots of the run's target. Scopes: `create`, `restore` for those of the
//! platform, `self-managed` for one that a plugin makes by its own means.

use super::error::{EffectError, ErrorKind};
use crate::codes;
use crate::ids::{SnapshotId, VmId};
use async_trait::async_trait;
use std::fmt::Debug;

/// Longest id and label of a snapshot that a plugin declares, in bytes.
pub const MAX_DECLARED: usize = 256;

/// Whether a plugin may declare a snapshot by this id and label: both are shown
/// to people in one line, and the id goes into commands that they type.
pub fn check_declared(id: &str, label: &str) -> Result<(), EffectError> {
    let shown = |text: &str| text.len() <= MAX_DECLARED && !text.chars().any(char::is_control);
    if !id.is_empty() && shown(id) && !id.contains(char::is_whitespace) && shown(label) {
        return Ok(());
    }
    Err(EffectError::new(
        ErrorKind::Invalid,
        codes::SNAPSHOT_INVALID,
        format!(
            "the id of a snapshot has 1 to {MAX_DECLARED} bytes without white space and control \
             characters, and its label at most {MAX_DECLARED} in one line"
        ),
    ))
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
    /// Whether the platform says that it is a snapshot of the run's target, or
    /// of a VM that the target was before.
    async fn is_of_target(&self, _id: &SnapshotId) -> Result<bool, EffectError> {
        Ok(false)
    }
    /// Pauses a VM that is no longer the run's target.
    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError>;
    /// What came of a `create` with this label that was asked for at `since`
    /// (milliseconds since 1970) and whose answer nobody got. None: nothing
    /// came of it, and nothing will.
    async fn created(
        &self,
        label: &str,
        since: u64,
        progress: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError>;
    /// The same of a `restore`. A VM that is found is made ready and is the
    /// run's target, as after `restore`.
    async fn restored(
        &self,
        id: &SnapshotId,
        since: u64,
        progress: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError>;
    /// Called when the target does not answer: has it go on where it is frozen
    /// and waits for it while it starts. The error names what is wrong with it.
    /// Without `change` it only looks.
    async fn wake(&self, _change: bool, _progress: &dyn Progress) -> Result<Wake, EffectError> {
        Ok(Wake::Unknown)
    }
}

/// A target of which nobody here can take one.
#[derive(Debug)]
pub struct NoSnapshots;

impl NoSnapshots {
    fn error() -> EffectError {
        EffectError::new(
            ErrorKind::Failed,
            codes::SNAPSHOT_UNSUPPORTED,
            "this target is a server, and no platform takes snapshots of it; let a snapshot \
             plugin of the plan take them (`archive` packs directories and can restore them), or \
             continue without one: `--without-snapshot \"REASON\"`",
        )
    }
}

#[async_trait]
impl Snapshot for NoSnapshots {
    async fn create(&self, _: &str, _: &dyn Progress) -> Result<SnapshotId, EffectError> {
        Err(Self::error())
    }
    async fn restore(&self, _: &SnapshotId, _: &dyn Progress) -> Result<VmId, EffectError> {
        Err(Self::error())
    }
    async fn exists(&self, _: &SnapshotId) -> Result<bool, EffectError> {
        Err(Self::error())
    }
    async fn is_of_target(&self, _: &SnapshotId) -> Result<bool, EffectError> {
        Err(Self::error())
    }
    async fn pause_old(&self, _: &VmId) -> Result<(), EffectError> {
        Err(Self::error())
    }
    async fn created(
        &self,
        _: &str,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError> {
        Ok(None)
    }
    async fn restored(
        &self,
        _: &SnapshotId,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_can_be_shown_in_one_line() {
        check_declared("pre-deploy-01K", "pre-deploy app 03b077a").unwrap();
        check_declared("pool/data@01K", "").unwrap();
        let long = "x".repeat(MAX_DECLARED + 1);
        for (id, label) in [
            ("", "a"),
            ("a b", "a"),
            ("a\nb", "a"),
            ("a\u{1b}[2J", "a"),
            ("a", "two\nlines"),
            (long.as_str(), "a"),
            ("a", long.as_str()),
        ] {
            let error = check_declared(id, label).unwrap_err();
            assert_eq!(error.code, "snapshot.invalid", "{id:?} {label:?}");
        }
    }
}
