//! Where a target went: a restore makes a new VM, and the project file still
//! names the old one. Kept as facts of the target, so the next run finds it.

use super::store::{Store, StoreError};
use vdeploy_core::ids::{TargetName, VmId};

/// More moves than any target makes; a longer chain is broken data.
const MAX_MOVES: usize = 10_000;

pub(super) fn key(from: &VmId) -> String {
    format!("moved-from:{from}")
}

fn key_back(to: &VmId) -> String {
    format!("moved-to:{to}")
}

/// The VM that the target was first, when it is `now` after its moves.
pub fn first_vm(store: &dyn Store, target: &TargetName, now: &VmId) -> Result<VmId, StoreError> {
    follow(store, target, now, key_back)
}

/// The VM that is the target now, when the project names `first`.
pub fn current_vm(
    store: &dyn Store,
    target: &TargetName,
    first: &VmId,
) -> Result<VmId, StoreError> {
    follow(store, target, first, key)
}

fn follow(
    store: &dyn Store,
    target: &TargetName,
    from: &VmId,
    key: impl Fn(&VmId) -> String,
) -> Result<VmId, StoreError> {
    let mut vm = from.clone();
    for _ in 0..MAX_MOVES {
        match store.fact(target, &key(&vm))? {
            Some(next) => vm = VmId::new(next),
            None => return Ok(vm),
        }
    }
    Err(StoreError::Corrupt {
        what: format!("moves of the target `{target}`"),
        message: format!("they lead from {from} in a circle"),
    })
}

/// Remembers that a restore moved the target.
pub fn record(
    store: &dyn Store,
    target: &TargetName,
    from: &VmId,
    to: &VmId,
) -> Result<(), StoreError> {
    store.set_fact(target, &key(from), Some(to.as_str()))?;
    store.set_fact(target, &key_back(to), Some(from.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::SqliteStore;

    #[test]
    fn a_chain_of_moves_is_followed_to_its_end() {
        let store = SqliteStore::in_memory().unwrap();
        let target = TargetName::from("infra");
        let (a, b, c) = (VmId::from("a"), VmId::from("b"), VmId::from("c"));
        assert_eq!(current_vm(&store, &target, &a).unwrap(), a);
        record(&store, &target, &a, &b).unwrap();
        record(&store, &target, &b, &c).unwrap();
        assert_eq!(current_vm(&store, &target, &a).unwrap(), c);
        for vm in [&a, &b, &c] {
            assert_eq!(first_vm(&store, &target, vm).unwrap(), a);
        }
        assert_eq!(current_vm(&store, &"other".into(), &a).unwrap(), a);
    }

    #[test]
    fn a_circle_is_an_error_and_not_a_hang() {
        let store = SqliteStore::in_memory().unwrap();
        let target = TargetName::from("infra");
        let (a, b) = (VmId::from("a"), VmId::from("b"));
        record(&store, &target, &a, &b).unwrap();
        record(&store, &target, &b, &a).unwrap();
        assert!(current_vm(&store, &target, &a).is_err());
        assert!(first_vm(&store, &target, &a).is_err());
    }
}
