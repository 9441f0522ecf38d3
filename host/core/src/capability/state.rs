//! Small durable values of one plugin on one target, between runs.
//!
//! The grant is `state = true`. Keys have at most 256 bytes, values at most
//! 64 KiB.

use super::error::EffectError;
use crate::ids::{PluginName, TargetName};
use std::fmt::Debug;

/// Largest key in bytes.
pub const MAX_KEY: usize = 256;
/// Largest value in bytes.
pub const MAX_VALUE: usize = 64 * 1024;

/// Keeps plugin state.
pub trait State: Send + Sync + Debug {
    /// The value, if there is one.
    fn get(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<Option<Vec<u8>>, EffectError>;
    /// Stores the value.
    fn put(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
        value: &[u8],
    ) -> Result<(), EffectError>;
    /// Removes it; a missing key is no error.
    fn delete(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<(), EffectError>;
}
