//! Takes a snapshot of the target, the rollback point, and records it in the
//! commit ledger of the service.
//!
//! The snapshot is required. The ledger is a convenience on the same VM, so its
//! failure is only a warning.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use vdeploy_plugin::{Cx, Error, Step};
use vdeploy_service::outputs::{Baseline, SnapshotTaken};

const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    label: String,
    when_unchanged: WhenUnchanged,
    ledger: bool,
    ledger_path: String,
    agent: String,
    tags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WhenUnchanged {
    Skip,
    Take,
}

#[derive(Debug)]
pub struct Snapshot;

impl Step for Snapshot {
    type Config = Config;
    type Output = SnapshotTaken;

    fn run(cx: &Cx<Config>) -> Result<SnapshotTaken, Error> {
        let config = cx.config();
        let baseline: Option<Baseline> = cx.output_of("preflight")?;
        let unchanged = baseline.as_ref().is_some_and(|baseline| baseline.unchanged);
        if unchanged && config.when_unchanged == WhenUnchanged::Skip {
            return Ok(SnapshotTaken {
                summary: "unchanged, no snapshot needed".to_owned(),
                skipped: true,
                ledger: "off".to_owned(),
                ..SnapshotTaken::default()
            });
        }
        let label = label(cx, baseline.as_ref());
        let vm = cx.target_vm();
        let id = cx.snapshot().create(&label)?;
        let ledger = match entry(cx, baseline.as_ref(), &id, &label) {
            Ok(None) => "off".to_owned(),
            Ok(Some(entry)) => match record(cx, &id, &entry) {
                Ok(()) => "recorded".to_owned(),
                Err(error) => failed(cx, &id, &error.to_string()),
            },
            Err(why) => failed(cx, &id, &why),
        };
        Ok(SnapshotTaken {
            summary: match cx.dry_run() {
                true => "would take a snapshot".to_owned(),
                false => format!("snapshot {id}, ledger {ledger}"),
            },
            skipped: false,
            id: Some(id),
            self_managed: false,
            label,
            vm,
            ledger,
        })
    }
}

/// `pre-deploy vers-agent-services 03b077a run 01J…`. Unique by the run id: a
/// repeated step finds its snapshot by the label.
fn label(cx: &Cx<Config>, baseline: Option<&Baseline>) -> String {
    let mut label = cx.config().label.clone();
    if let Some(baseline) = baseline {
        let app = baseline.app_dir.rsplit('/').next().unwrap_or_default();
        let sha = baseline.sha.get(..7).unwrap_or_default();
        for word in [app, sha].into_iter().filter(|word| !word.is_empty()) {
            label = format!("{label} {word}");
        }
    }
    format!("{label} run {}", cx.run_id())
}

fn failed(cx: &Cx<Config>, id: &str, why: &str) -> String {
    cx.warn(format!(
        "snapshot {id} is taken but not in the commit ledger: {why}"
    ));
    format!("failed: {why}")
}

/// None when the ledger is off; an error when there is nothing to record to.
fn entry(
    cx: &Cx<Config>,
    baseline: Option<&Baseline>,
    id: &str,
    label: &str,
) -> Result<Option<Value>, String> {
    let config = cx.config();
    if !config.ledger {
        return Ok(None);
    }
    if baseline.is_some_and(|baseline| baseline.service.is_none()) {
        return Err("the service does not run".to_owned());
    }
    let vm = cx.target_vm().ok_or("the target is not a Vers VM")?;
    Ok(Some(json!({
        "commitId": id,
        "vmId": vm,
        "label": label,
        "agent": config.agent,
        "tags": config.tags,
        "metadata": {
            "run": cx.run_id(),
            "plan": cx.plan_name(),
            "sha": baseline.map(|baseline| baseline.sha.as_str()),
        },
    })))
}

/// Records the snapshot. A conflict or a lost answer is read back: an earlier
/// try may have written the record.
fn record(cx: &Cx<Config>, id: &str, entry: &Value) -> Result<(), Error> {
    let token = cx.secret("auth-token")?;
    let url = cx.target_endpoint(&cx.config().ledger_path)?;
    let sent = cx
        .http("POST", &url)
        .bearer(&token)
        .json(entry)
        .timeout(TIMEOUT)
        .send();
    let why = match sent {
        Ok(answer) if answer.ok() => return Ok(()),
        Ok(answer) if answer.status() == 409 => "the id is recorded for another VM".to_owned(),
        Ok(answer) => {
            let text = answer.text();
            let body: String = text.chars().take(200).collect();
            return Err(refused(format!("answered {}: {body}", answer.status())));
        }
        Err(error) if error.maybe_applied => error.to_string(),
        Err(error) => return Err(error),
    };
    let found = cx
        .http("GET", format!("{url}/{id}"))
        .bearer(&token)
        .timeout(TIMEOUT)
        .send()?;
    let known: Value = found.json().unwrap_or_default();
    if found.ok() && known.get("vmId") == entry.get("vmId") {
        return Ok(());
    }
    Err(refused(why))
}

fn refused(message: String) -> Error {
    Error::failed("ledger.refused", message)
}

vdeploy_plugin::register_step!(Snapshot);

#[cfg(test)]
mod tests;
