//! Counts the data of the running service through its endpoints.
//!
//! This module must not know what the counts are compared with.

use std::time::Duration;

use serde_json::Value;
use vdeploy_plugin::{Cx, Error, ErrorKind, Response, Secret};

use crate::outputs::Counts;

/// Each store, and the endpoint that gives its number of entries.
const STORES: [(&str, &str); 4] = [
    ("board", "/board/tasks"),
    ("feed", "/feed/stats"),
    ("registry", "/registry/vms"),
    ("commits", "/commits"),
];

/// Must answer 401 to a request without a token.
const GUARDED: &str = "/board/tasks";

const TIMEOUT: Duration = Duration::from_secs(15);
/// In bytes. Some endpoints answer with the whole list instead of a count.
const LARGEST: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    pub counts: Counts,
    /// Stores that could not be counted, and why, for a person.
    pub problems: Vec<String>,
    /// It answers without a token.
    pub open: bool,
    /// It rejects the token.
    pub token_refused: bool,
}

/// Asks the service. Probes only; a service without an answer is in `problems`.
///
/// # Errors
/// `target.no-url` when the project gives the target no address.
pub fn count<C>(cx: &Cx<C>, token: &Secret) -> Result<Counted, Error> {
    let mut requests = vec![cx.http("GET", cx.target_endpoint(GUARDED)?)];
    for (_, path) in STORES {
        requests.push(cx.http("GET", cx.target_endpoint(path)?).bearer(token));
    }
    let requests = requests
        .into_iter()
        .map(|request| request.timeout(TIMEOUT).max_response(LARGEST))
        .collect();
    let mut answers = cx.http_all(requests).into_iter();
    let mut counted = Counted {
        open: matches!(answers.next(), Some(Ok(answer)) if answer.ok()),
        ..Counted::default()
    };
    for ((store, path), answer) in STORES.into_iter().zip(answers) {
        counted.token_refused |= matches!(&answer, Ok(answer) if answer.status() == 401);
        match answer.map_err(|e| e.to_string()).and_then(|a| entries(&a)) {
            Ok(n) => {
                counted.counts.0.insert(store.to_owned(), n);
            }
            Err(why) => counted
                .problems
                .push(format!("{store} (GET {path}): {why}")),
        }
    }
    Ok(counted)
}

/// Whether the service rejects the token; false when it does not answer. A
/// probe.
///
/// # Errors
/// Only when the run is being stopped.
pub fn refuses<C>(cx: &Cx<C>, token: &Secret) -> Result<bool, Error> {
    let Ok(url) = cx.target_endpoint(GUARDED) else {
        return Ok(false);
    };
    let request = cx.http("GET", url).bearer(token);
    match request.timeout(TIMEOUT).max_response(LARGEST).send() {
        Ok(answer) => Ok(answer.status() == 401),
        Err(error) if error.kind == ErrorKind::Cancelled => Err(error),
        Err(_) => Ok(false),
    }
}

fn entries(answer: &Response) -> Result<u64, String> {
    if !answer.ok() {
        return Err(format!("answered {}", answer.status()));
    }
    let body: Value = answer.json().map_err(|error| error.message)?;
    let number = match &body {
        Value::Array(entries) => u64::try_from(entries.len()).ok(),
        body => ["count", "total"]
            .iter()
            .find_map(|key| body.get(key).and_then(Value::as_u64)),
    };
    number.ok_or_else(|| "the answer has no count".to_owned())
}
