//! A plan: a named, ordered list of steps with policy, complete and validated.
//!
//! Does no I/O and knows no plugin bytes. `config` reads project files and
//! builds plans; `run` executes them.

use crate::ids::{PlanName, PluginName, StepId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// What happens after a step failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Bring the old version back and verify it.
    Rollback,
    /// Leave everything as it is, for a person.
    Keep,
}

/// How a rollback brings the old version back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackTo {
    /// Undo the steps in reverse on the same VM, then the rollback steps.
    InPlace,
    /// Restore the snapshot to a new VM, by the rollback steps.
    Snapshot,
}

/// How often a step is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retry {
    /// Tries in all; 1 is no retry.
    pub attempts: u32,
    /// Wait before the second try; doubles each time, up to a minute.
    #[serde(with = "crate::plan::millis")]
    pub delay: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            delay: Duration::from_secs(1),
        }
    }
}

/// One entry of a plan: a plugin, its configuration and its policy.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Unique among the plan's steps, rollback steps and finally steps.
    pub id: StepId,
    /// The plugin's name in the project.
    pub plugin: PluginName,
    /// Configuration as written; defaults come from the plugin's manifest.
    pub config: Map<String, Value>,
    /// Wall-clock deadline of one attempt.
    #[serde(with = "crate::plan::millis")]
    pub timeout: Duration,
    /// How often it is tried.
    pub retry: Retry,
    /// Overrides the plan's policy for this step.
    pub on_failure: Option<OnFailure>,
}

/// A complete plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// One line for `vdeploy plan list`.
    pub summary: String,
    /// In order.
    pub steps: Vec<Step>,
    /// Run after the undos when the run fails; the last ones verify.
    pub rollback: Vec<Step>,
    /// Run at the end whatever the outcome; their failure is reported and
    /// never replaces the cause.
    pub finally: Vec<Step>,
    /// The policy when a step has none of its own.
    pub on_failure: OnFailure,
    /// How a rollback is done.
    pub rollback_to: RollbackTo,
}

impl Plan {
    /// Steps, rollback steps and finally steps.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.rollback).chain(&self.finally)
    }
}

#[cfg(any(test, feature = "testing"))]
impl Plan {
    /// A plan of nothing, for tests.
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.into(),
            summary: String::new(),
            steps: Vec::new(),
            rollback: Vec::new(),
            finally: Vec::new(),
            on_failure: OnFailure::Rollback,
            rollback_to: RollbackTo::InPlace,
        }
    }
}

/// Durations as whole milliseconds in stored data.
pub mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes milliseconds.
    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
