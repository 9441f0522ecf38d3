//! Why a plugin could not be loaded or did not finish.

use std::time::Duration;
use vdeploy_core::capability::EffectError;
use vdeploy_core::ids::{PluginName, StepId};

/// `Failed` is the plugin's own error; the others are the host's.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The engine could not be set up.
    #[error("the WASM engine cannot be set up: {message}")]
    Engine { message: String },
    /// The file cannot be read.
    #[error("plugin `{plugin}`: {path}: {message}")]
    Read {
        plugin: PluginName,
        path: String,
        /// Why, and what to do.
        message: String,
    },
    /// The bytes are not a plugin.
    #[error("plugin `{plugin}` cannot be loaded: {message}")]
    Load {
        plugin: PluginName,
        /// Why, and what to do.
        message: String,
    },
    /// Built for another contract.
    #[error("plugin `{plugin}` does not fit this vdeploy: {message}")]
    Incompatible {
        plugin: PluginName,
        /// What is missing or differs, and what to do.
        message: String,
    },
    /// It imports a capability that no grant gives.
    #[error(
        "plugin `{plugin}` uses `{interface}` and has no grant for it; \
         if it may, add to the project file:\n\n{line}"
    )]
    NotGranted {
        plugin: PluginName,
        interface: String,
        /// The lines to add.
        line: String,
    },
    /// The bytes are not the pinned ones.
    #[error(
        "plugin `{plugin}`: the file's digest is sha256:{found}, the project pins sha256:{pinned}; \
         if the new bytes are wanted, change `digest` in [plugins.{plugin}]"
    )]
    Digest {
        plugin: PluginName,
        /// Of the file.
        found: String,
        /// In the project.
        pinned: String,
    },
    /// A step's configuration does not match the plugin's schema.
    #[error("step `{step}`: {message}")]
    Config {
        step: StepId,
        /// JSON pointer of the value in its configuration.
        pointer: String,
        /// What is wrong, where, and what is allowed.
        message: String,
    },
    /// It trapped: a panic or a fault.
    #[error("the plugin stopped with a fault: {message}")]
    Trap {
        /// The panic's message or the trap.
        message: String,
    },
    /// It used up its CPU budget.
    #[error("the plugin computed for more than {} s without finishing", seconds(*.budget))]
    Cpu { budget: Duration },
    /// The step's time is over.
    #[error("the step did not finish within {} s", seconds(*.timeout))]
    Deadline {
        /// The step's timeout.
        timeout: Duration,
    },
    /// It exceeded its memory limit.
    #[error("the plugin wanted more than {} MiB of memory", .limit >> 20)]
    Memory {
        /// In bytes.
        limit: usize,
    },
    /// It exceeded a limit of parts.
    #[error("the plugin needs more parts than it may have: {message}")]
    Parts {
        /// Of what, and how many.
        message: String,
    },
    /// Its output violates the contract.
    #[error("the plugin's output {message}")]
    Output { message: String },
    /// What the plugin reports.
    #[error("{0}")]
    Failed(EffectError),
}

/// Seconds with at most one decimal, for a person.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
