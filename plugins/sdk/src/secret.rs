//! A granted secret, as a handle: the value stays in the host.

use std::fmt;
use std::rc::Rc;

use crate::backend;

/// A granted secret. Pass it to `ssh` or `http`; the host inserts the value.
/// Cloning copies the handle.
#[derive(Clone)]
pub struct Secret {
    name: Rc<str>,
    pub(crate) handle: Rc<backend::SecretHandle>,
}

impl Secret {
    pub(crate) fn new(name: &str, handle: backend::SecretHandle) -> Self {
        Self {
            name: name.into(),
            handle: Rc::new(handle),
        }
    }

    /// Its name in the project, never its value.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}
