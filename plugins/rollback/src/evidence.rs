//! The broken state before it is left for a snapshot: it is taken as a snapshot
//! itself, so that what went wrong can be looked at, and what the service has
//! written since the old one is said before it is gone.

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{Cx, Error};
use vdeploy_service::data_loss::{self, RECORDS};
use vdeploy_service::outputs::SnapshotTaken;
use vdeploy_service::records::short;

use crate::{Config, FailedRun, warn};

/// What is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct BrokenState {
    /// The snapshot of it.
    pub(crate) evidence: Option<Evidence>,
    /// What was written since the baseline; none when that is not known.
    pub(crate) data_loss: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Evidence {
    pub(crate) id: String,
    pub(crate) label: String,
}

/// Looks at it and keeps it. Neither stops the rollback when it fails: the old
/// version is wanted back, and the old VM is not deleted.
pub(crate) fn keep(cx: &Cx<Config>, failed: &FailedRun, id: &str) -> Result<BrokenState, Error> {
    let own: SnapshotTaken = cx.output_of("snapshot")?.unwrap_or_default();
    if own.id == failed.snapshot.id {
        // The run that failed rolls back.
        let data_loss = data_loss(cx, failed, id, "")?;
        let evidence = match cx.config().evidence && !cx.dry_run() {
            true => take(cx, failed)?,
            false => None,
        };
        return Ok(BrokenState {
            evidence,
            data_loss,
        });
    }
    // A plan that only rolls back has taken it as its first step, unless it was
    // told not to: then the VM may be lost, and it is not waited for.
    let Some(taken) = own.id else {
        return Ok(BrokenState::default());
    };
    Ok(BrokenState {
        data_loss: data_loss(cx, failed, id, RECORDS)?,
        evidence: (!cx.dry_run()).then_some(Evidence {
            id: taken,
            label: own.label,
        }),
    })
}

fn data_loss(
    cx: &Cx<Config>,
    failed: &FailedRun,
    id: &str,
    note: &str,
) -> Result<Option<Vec<String>>, Error> {
    // The run's own record; it is written again in the restored VM.
    let records: &[&str] = match failed.snapshot.ledger == "recorded" && note.is_empty() {
        true => &["data/commits.jsonl +1 line"],
        false => &[],
    };
    data_loss::warn(cx, &failed.before, id, records, note)
}

fn take(cx: &Cx<Config>, failed: &FailedRun) -> Result<Option<Evidence>, Error> {
    let app = failed.before.app_dir.rsplit('/').next().unwrap_or_default();
    let sha = [&failed.pulled.new_sha, &failed.before.sha];
    let sha = sha.into_iter().find(|sha| !sha.is_empty());
    let words = ["broken", app, sha.map_or("", |sha| short(sha))];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let label = format!("{} run {}", words.join(" "), cx.run_id());
    let taken = cx.snapshot().create(&label);
    let evidence = taken.as_ref().ok().map(|id| Evidence {
        id: id.clone(),
        label,
    });
    let old_vm = match cx.target_vm() {
        Some(vm) => format!("; VM {vm} has it until somebody deletes it"),
        None => String::new(),
    };
    warn(
        cx,
        &format!("the broken state could not be taken as a snapshot{old_vm}"),
        taken.map(drop),
    )?;
    Ok(evidence)
}
