//! What a connection goes to.

use std::fmt;
use std::sync::Arc;
use vdeploy_core::ids::VmId;

/// A VM of a platform, or the one server of the target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    Vm(VmId),
    /// The server's name as the project has it.
    Server(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Vm(vm) => vm.fmt(f),
            Place::Server(name) => name.fmt(f),
        }
    }
}
