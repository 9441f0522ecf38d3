//! `type = "local"`: a VM of the local cloud.

use super::TargetKind;
use super::parts::parse_vm;
use crate::read::parse::{At, TableReader};
use std::path::{Path, PathBuf};
use vdeploy_core::ids::VmId;

/// Every key of the table.
pub(super) const KEYS: [&str; 3] = ["type", "dir", "vm"];

/// A VM of the local cloud; all else is in the cloud's own files.
#[derive(Clone, Debug)]
pub struct LocalTarget {
    /// Directory of the cloud; None is the default of `vdeploy local`.
    pub dir: Option<PathBuf>,
    /// Which VM; None is the one that `vdeploy local up` made first.
    pub vm: Option<VmId>,
}

impl TargetKind for LocalTarget {
    fn secrets(&self) -> Vec<&At<String>> {
        Vec::new()
    }
    fn takes_snapshots(&self) -> bool {
        true
    }
    fn url(&self) -> Option<&str> {
        None
    }
}

/// Reads the table; `what` names it.
pub(super) fn read(what: &str, table: TableReader<'_>, base: &Path) -> LocalTarget {
    table.only(what, &KEYS);
    LocalTarget {
        dir: table.string("dir").map(|d| base.join(d.value)),
        vm: table.read("vm", parse_vm).map(|v| v.value),
    }
}
