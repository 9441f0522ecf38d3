//! `[plans.NAME]` as written: read, with places, and not yet put together.

use crate::read::duration;
use crate::read::json::Pointers;
use crate::read::parse::{At, TableReader};
use crate::read::span::Place;
use serde_json::{Map, Value};
use std::time::Duration;
use vdeploy_core::ids::{StepId, is_name};
use vdeploy_core::plan::{OnFailure, Retry, RollbackTo, Step};

/// Deadline of one attempt when a step names none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// The lists of a plan, by their keys.
pub(crate) const LISTS: [&str; 3] = ["step", "rollback", "finally"];

/// `[plans.NAME]` as written.
#[derive(Debug)]
pub(crate) struct RawPlan {
    pub name: String,
    pub place: Place,
    pub extends: Option<At<String>>,
    pub summary: Option<String>,
    pub on_failure: Option<At<OnFailure>>,
    /// `on-failure` is there and could not be read.
    pub unclear_policy: bool,
    pub rollback_to: Option<RollbackTo>,
    pub lists: [Vec<RawStep>; 3],
    pub drop: Vec<At<String>>,
}

/// One entry of a list as written.
#[derive(Debug)]
pub(crate) struct RawStep {
    pub place: Place,
    pub id: Option<At<String>>,
    pub plugin: Option<At<String>>,
    config: Option<(Map<String, Value>, Pointers)>,
    timeout: Option<Duration>,
    attempts: Option<u32>,
    delay: Option<Duration>,
    on_failure: Option<OnFailure>,
    pub position: Option<(Position, At<String>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Position {
    Before,
    After,
    Replaces,
}

const POLICY: [(&str, OnFailure); 2] =
    [("rollback", OnFailure::Rollback), ("keep", OnFailure::Keep)];

impl RawPlan {
    /// Reads `[plans.NAME]`.
    pub(crate) fn read(name: &At<String>, table: TableReader<'_>) -> Self {
        table.only(
            &format!("[plans.{}]", name.value),
            &[
                "extends",
                "summary",
                "on-failure",
                "rollback-to",
                "drop",
                "step",
                "rollback",
                "finally",
            ],
        );
        let list = |key: &str| {
            let header = format!("[[plans.{}.{key}]]", name.value);
            let entries = table.list(key).into_iter();
            entries.map(|t| RawStep::read(&header, t)).collect()
        };
        let targets = [
            ("in-place", RollbackTo::InPlace),
            ("snapshot", RollbackTo::Snapshot),
        ];
        let on_failure = table.one_of("on-failure", &POLICY);
        Self {
            name: name.value.clone(),
            place: name.place.clone(),
            extends: table.string("extends"),
            summary: table.string("summary").map(|s| s.value),
            unclear_policy: table.has("on-failure") && on_failure.is_none(),
            on_failure,
            rollback_to: table.one_of("rollback-to", &targets).map(|t| t.value),
            lists: LISTS.map(list),
            drop: table.strings("drop"),
        }
    }

    /// The plugins that its entries name.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &At<String>> {
        self.lists
            .iter()
            .flatten()
            .filter_map(|s| s.plugin.as_ref())
    }
}

impl RawStep {
    fn read(header: &str, table: TableReader<'_>) -> Self {
        table.only(
            header,
            &[
                "id",
                "plugin",
                "config",
                "timeout",
                "retry",
                "on-failure",
                "before",
                "after",
                "replaces",
            ],
        );
        let positions = [
            ("before", Position::Before),
            ("after", Position::After),
            ("replaces", Position::Replaces),
        ];
        let given: Vec<_> = positions
            .into_iter()
            .filter(|(k, _)| table.has(k))
            .collect();
        if given.len() > 1 {
            table.problem(
                format!("{header} says more than once where the step goes"),
                "write one of `before`, `after` and `replaces`",
            );
        }
        let position = given
            .first()
            .and_then(|(key, position)| table.string(key).map(|id| (*position, id)));
        let id = table.read("id", |text| match is_name(text) {
            true => Ok(text.to_owned()),
            false => Err(format!(
                "`{text}` cannot be a step id; use letters, digits, `-` and `_`"
            )),
        });
        if !table.has("id") && !table.has("replaces") {
            table.problem(
                format!("{header} has no `id`"),
                "write id = \"…\", a name that is used once in the plan",
            );
        }
        let retry = table.table("retry");
        if let Some(retry) = retry {
            retry.only(&format!("`retry` of {header}"), &["attempts", "delay"]);
        }
        Self {
            place: table.place(),
            id,
            plugin: table.string("plugin"),
            config: table.json("config"),
            timeout: table.read("timeout", duration::positive).map(|t| t.value),
            attempts: retry.and_then(|r| r.number("attempts", 1..=100)),
            delay: retry
                .and_then(|r| r.read("delay", duration::parse))
                .map(|d| d.value),
            on_failure: table.one_of("on-failure", &POLICY).map(|p| p.value),
            position,
        }
    }

    /// The step that this entry writes out in full.
    pub(crate) fn step(&self, id: &str, plugin: &At<String>) -> Placed {
        let (config, mut places) = self.config.clone().unwrap_or_default();
        places.insert(String::new(), self.place.clone());
        let retry = Retry::default();
        Placed {
            step: Step {
                id: StepId::new(id),
                plugin: plugin.value.as_str().into(),
                config,
                timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
                retry: Retry {
                    attempts: self.attempts.unwrap_or(retry.attempts),
                    delay: self.delay.unwrap_or(retry.delay),
                },
                on_failure: self.on_failure,
            },
            places,
        }
    }

    /// Changes what an inherited step has.
    pub(crate) fn change(&self, placed: &mut Placed) {
        if let Some((config, places)) = &self.config {
            merge(&mut placed.step.config, config);
            let inside = places.iter().filter(|(pointer, _)| !pointer.is_empty());
            placed
                .places
                .extend(inside.map(|(p, place)| (p.clone(), place.clone())));
        }
        let step = &mut placed.step;
        step.timeout = self.timeout.unwrap_or(step.timeout);
        step.retry.attempts = self.attempts.unwrap_or(step.retry.attempts);
        step.retry.delay = self.delay.unwrap_or(step.retry.delay);
        step.on_failure = self.on_failure.or(step.on_failure);
    }
}

/// Tables are merged key by key; everything else is replaced.
fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A step with the places of its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub step: Step,
    pub places: Pointers,
}

impl Placed {
    pub(crate) fn place(&self) -> Option<&Place> {
        self.places.get("")
    }
}
