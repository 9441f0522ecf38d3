//! What is slow to start and shared by trials: started by the first trial that
//! needs it, ended with the last one.

use anyhow::{Result, anyhow};
use std::sync::{Arc, OnceLock};

/// A value, or why there is none.
pub struct Shared<T> {
    value: Arc<OnceLock<Result<T, String>>>,
    start: fn() -> Result<T>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            start: self.start,
        }
    }
}

impl<T> Shared<T> {
    pub fn new(start: fn() -> Result<T>) -> Self {
        Self {
            value: Arc::default(),
            start,
        }
    }

    /// Starts it, or gives it when it was started. What could not be started is
    /// not tried again.
    pub fn get(&self) -> Result<&T> {
        let value = self
            .value
            .get_or_init(|| (self.start)().map_err(|error| format!("{error:?}")));
        value.as_ref().map_err(|error| anyhow!("{error}"))
    }
}
