//! The other end of a connection.

use std::fmt;
use std::sync::Arc;
use vdeploy_core::ids::VmId;

/// A VM of a platform, or the one server of the target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Endpoint {
    Vm(VmId),
    /// The server's name as the project has it.
    Server(Arc<str>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Vm(vm) => vm.fmt(f),
            Endpoint::Server(name) => name.fmt(f),
        }
    }
}
