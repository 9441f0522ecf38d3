//! Leases that a person broke: who, when, why, and whose it was. Kept as facts
//! of the target, so that the next one who looks is told, and the run that lost
//! its lease too.

use super::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use vdeploy_core::ids::{RunId, TargetName};

/// The fact with the newest break of a target.
pub(super) const NEWEST: &str = "lease-broken";

/// The fact with the break of the lease of one run.
pub(super) fn key(run: &RunId) -> String {
    format!("{NEWEST}:{run}")
}

/// A lease that was broken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeaseBreak {
    /// The run that held it.
    pub run: RunId,
    /// Who had started that run: user@machine pid, or the CI job.
    pub who: String,
    /// Who broke it, in the same form.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Milliseconds since 1970.
    pub at: u64,
    /// Its fencing token in the store; 0 for one on the target itself.
    pub token: u64,
}

/// The newest break of the target's lease.
pub fn newest(store: &dyn Store, target: &TargetName) -> Result<Option<LeaseBreak>, StoreError> {
    read(store, target, NEWEST)
}

/// How the lease of this run was broken, if it was.
pub fn of_run(
    store: &dyn Store,
    target: &TargetName,
    run: &RunId,
) -> Result<Option<LeaseBreak>, StoreError> {
    read(store, target, &key(run))
}

/// Remembers one that was kept elsewhere: on the target itself.
pub fn record(
    store: &dyn Store,
    target: &TargetName,
    broken: &LeaseBreak,
) -> Result<(), StoreError> {
    let text = text(broken)?;
    store.set_fact(target, &key(&broken.run), Some(&text))?;
    store.set_fact(target, NEWEST, Some(&text))
}

pub(super) fn text(broken: &LeaseBreak) -> Result<String, StoreError> {
    serde_json::to_string(broken).map_err(|error| corrupt(&error))
}

pub(super) fn parse(text: &str) -> Result<LeaseBreak, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(&error))
}

fn read(
    store: &dyn Store,
    target: &TargetName,
    key: &str,
) -> Result<Option<LeaseBreak>, StoreError> {
    store
        .fact(target, key)?
        .map(|text| parse(&text))
        .transpose()
}

fn corrupt(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        what: "break of a lease".to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteStore;

    #[test]
    fn the_newest_and_that_of_each_run_are_remembered() {
        let store = SqliteStore::in_memory().unwrap();
        let infra = TargetName::from("infra");
        let broken = |run: &str| LeaseBreak {
            run: run.into(),
            who: "ci@box pid 7".to_owned(),
            by: "ada@desk pid 9".to_owned(),
            reason: "the runner is gone".to_owned(),
            at: 5,
            token: 0,
        };
        assert_eq!(newest(&store, &infra).unwrap(), None);
        record(&store, &infra, &broken("01A")).unwrap();
        record(&store, &infra, &broken("01B")).unwrap();
        assert_eq!(newest(&store, &infra).unwrap(), Some(broken("01B")));
        let of = |run: &str| of_run(&store, &infra, &run.into()).unwrap();
        assert_eq!(of("01A"), Some(broken("01A")));
        assert_eq!(of("01C"), None);
        assert_eq!(newest(&store, &"other".into()).unwrap(), None);
    }
}
