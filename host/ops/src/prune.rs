//! Deletes finished runs from the store on request, and gives their room back
//! to the disk. Takes no lease.

use crate::error::{OpsError, OpsErrorKind};
use vdeploy_core::ids::TargetName;
use vdeploy_journal::prune::{self, Choice, Filter, KeepReason, PruneCandidate};
use vdeploy_journal::store::Compacted;
use vdeploy_journal::{Store, StoreError};

/// Which runs may go.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    pub filter: Filter,
    /// Only runs on this target.
    pub target: Option<TargetName>,
    /// Shows what would be removed, and removes nothing.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Pruned {
    pub removed: Vec<PruneCandidate>,
    pub kept: Vec<(PruneCandidate, KeepReason)>,
    /// Bytes of the store before.
    pub before: u64,
    pub after: u64,
    /// Why the store did not get smaller.
    pub not_smaller: Option<String>,
    /// The room could not be given back for a reason that somebody must mend.
    pub failed: bool,
}

/// `now` is in milliseconds since 1970.
///
/// # Errors
/// What the store says; it is whole then, and the same call continues.
pub fn prune(store: &dyn Store, prune: &Prune, now: u64) -> Result<Pruned, OpsError> {
    let mut pruned = Pruned {
        before: store.size()?,
        ..Pruned::default()
    };
    let runs = store.survey(prune.target.as_ref())?;
    let choice = prune::choose(runs, &prune.filter, now);
    if prune.dry_run {
        pruned.removed = choice.remove;
        pruned.kept = choice.kept;
    } else {
        pruned.remove(store, choice)?;
        pruned.compact(store);
    }
    pruned.after = store.size()?;
    Ok(pruned)
}

impl Pruned {
    /// One run a transaction: others get their turn between, and whenever this
    /// ends, what is left is whole.
    fn remove(&mut self, store: &dyn Store, choice: Choice) -> Result<(), OpsError> {
        self.kept = choice.kept;
        for run in choice.remove {
            match store.remove_run(&run) {
                Ok(true) => self.removed.push(run),
                Ok(false) => self.kept.push((run, KeepReason::Meanwhile)),
                Err(error) => return Err(self.stopped(&error)),
            }
        }
        Ok(())
    }

    fn stopped(&self, error: &StoreError) -> OpsError {
        let removed = match self.removed.len() {
            0 => "nothing was removed".to_owned(),
            1 => "1 run was removed, and then it failed".to_owned(),
            many => format!("{many} runs were removed, and then it failed"),
        };
        OpsError::new(OpsErrorKind::Internal, format!("{removed}: {error}"))
            .hint("the store is whole: the same command goes on when that is mended")
    }

    fn compact(&mut self, store: &dyn Store) {
        match store.compact() {
            Ok(Compacted::Done) => {}
            Ok(Compacted::Later(why)) => self.not_smaller = Some(why),
            Err(error) => {
                self.not_smaller = Some(error.to_string());
                self.failed = true;
            }
        }
    }
}
