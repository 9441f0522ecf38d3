//! What a real target did in one real run, as the run's recording has it: each
//! change in order, and what every look saw between two changes.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use vdeploy_core::capability::EffectError;
use vdeploy_journal::Entry;
use vdeploy_journal::recording::Recording;

/// What came of a call, in the form that the journal has.
pub type Answer = Result<Value, EffectError>;

/// A change that was made.
#[derive(Debug)]
pub struct Change {
    /// The step that made it.
    pub step: String,
    /// For example `ssh.exec`.
    pub function: String,
    /// The arguments.
    pub request: Value,
    /// What came of it.
    pub answer: Answer,
}

/// A call that only looks, and what it saw each time.
#[derive(Debug)]
pub struct Look {
    /// For example `ssh.probe`.
    pub function: String,
    /// The arguments.
    pub request: Value,
    /// In order.
    pub answers: Vec<Answer>,
}

/// The whole run.
#[derive(Debug, Default)]
pub struct Script {
    /// When it began, in milliseconds since 1970.
    began: u64,
    /// Changes of the VM, in order: commands, snapshots, restores.
    pub changes: Vec<Change>,
    /// Requests that changed what the service keeps, in order.
    pub posts: Vec<Change>,
    /// By how many changes of the VM had been made.
    looks: BTreeMap<usize, Vec<Look>>,
}

/// Changes of the VM.
const CHANGES: [&str; 4] = [
    "ssh.exec",
    "snapshot.create",
    "snapshot.restore",
    "snapshot.pause-old",
];
/// Calls that only look; with `http.send`, which is one or the other.
const LOOKS: [&str; 2] = ["ssh.probe", "snapshot.exists"];

/// In milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;
/// What stands for a time.
const TIME: &str = "(a time)";

impl Script {
    /// Reads a recording of a run that was not interrupted.
    pub fn read(recording: &Recording) -> Result<Self> {
        let mut script = Self {
            began: recording.record.started_at,
            ..Self::default()
        };
        for mut change in calls(recording)?.into_values() {
            change.request = script.timeless(&change.request);
            let function = change.function.as_str();
            let came_so_far = change.answer.as_ref().err();
            if came_so_far.is_some_and(|error| error.code.starts_with("gate.")) {
                // Refused: the target never heard of it.
                continue;
            }
            if CHANGES.contains(&function) {
                script.changes.push(change);
            } else if function == "http.send" && !is_look(&change.request) {
                script.posts.push(change);
            } else if function == "http.send" || LOOKS.contains(&function) {
                script.saw(change);
            }
        }
        ensure!(script.changes.len() > 5, "it changed nothing: {script:?}");
        Ok(script)
    }

    fn saw(&mut self, call: Change) {
        let looks = self.looks.entry(self.changes.len()).or_default();
        let same =
            |look: &&mut Look| look.function == call.function && look.request == call.request;
        match looks.iter_mut().find(same) {
            Some(look) => look.answers.push(call.answer),
            None => looks.push(Look {
                function: call.function,
                request: call.request,
                answers: vec![call.answer],
            }),
        }
    }

    /// A request or an output without the times that a plugin has put into it:
    /// what is done at another time is the same. A time is a number, as such or
    /// as a whole text, of milliseconds since 1970 near the beginning of the
    /// run.
    pub fn timeless(&self, value: &Value) -> Value {
        let is_time = |ms: u64| ms.abs_diff(self.began) < DAY;
        match value {
            Value::String(text) if text.parse().is_ok_and(is_time) => Value::from(TIME),
            Value::Number(number) if number.as_u64().is_some_and(is_time) => Value::from(TIME),
            Value::Array(values) => values.iter().map(|v| self.timeless(v)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(key, v)| (key.clone(), self.timeless(v)))
                .collect(),
            other => other.clone(),
        }
    }

    /// The look with these arguments when so many changes had been made, and
    /// its place among those of that time.
    pub fn look(&self, made: usize, function: &str, request: &Value) -> Option<(usize, &Look)> {
        let looks = self.looks.get(&made)?.iter().enumerate();
        let mut same = looks.filter(|(_, l)| l.function == function && l.request == *request);
        same.next()
    }
}

/// Every call with its answer, by number.
fn calls(recording: &Recording) -> Result<BTreeMap<u64, Change>> {
    let mut calls = BTreeMap::new();
    let mut begun = BTreeMap::new();
    for stored in &recording.journal {
        match &stored.entry {
            Entry::Intent {
                call,
                function,
                request,
                ..
            } => {
                begun.insert(*call, (function.clone(), request.clone()));
            }
            Entry::Result {
                call,
                step,
                function,
                request,
                response,
            } => {
                let (function, request) = begun
                    .remove(call)
                    .unwrap_or_else(|| (function.clone(), request.clone()));
                let change = Change {
                    step: step.to_string(),
                    function,
                    request,
                    answer: response.clone(),
                };
                calls.insert(*call, change);
            }
            _ => {}
        }
    }
    ensure!(begun.is_empty(), "calls without a result: {begun:?}");
    Ok(calls)
}

fn is_look(request: &Value) -> bool {
    matches!(word(request, "method"), "GET" | "HEAD")
}

/// A string of a request, or nothing.
pub fn word<'v>(request: &'v Value, key: &str) -> &'v str {
    request.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A string of an answer.
pub fn answered<'a>(answer: &'a Answer, key: &str) -> Result<&'a str> {
    let value = answer.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
    value
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("no `{key}` in {value}"))
}

/// A call in one line, for a person.
pub fn shown(function: &str, request: &Value) -> String {
    let words: Vec<&str> = ["program", "method", "url", "label", "snapshot", "vm"]
        .into_iter()
        .filter_map(|key| request.get(key)?.as_str())
        .collect();
    let args = request.get("args").and_then(Value::as_array);
    let args: Vec<&str> = args
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    format!("{function} {} {}", words.join(" "), args.join(" "))
}
