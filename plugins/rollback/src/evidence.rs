//! Evidence before a restore: a snapshot of the broken state, for a person to
//! inspect, and a list of the data that the restore loses.

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{Cx, Error};
use vdeploy_service::data_loss::{self, RECORDS};
use vdeploy_service::outputs::SnapshotTaken;
use vdeploy_service::records::short;

use crate::{Config, UndoneRun, warn};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct BrokenState {
    pub(crate) evidence: Option<Evidence>,
    /// None when unknown.
    pub(crate) data_loss: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Evidence {
    pub(crate) id: String,
    pub(crate) label: String,
}

/// A failure here does not stop the rollback: the old VM is never deleted.
pub(crate) fn keep(cx: &Cx<Config>, undone: &UndoneRun, id: &str) -> Result<BrokenState, Error> {
    let own: SnapshotTaken = cx.output_of("snapshot")?.unwrap_or_default();
    if own.id == undone.snapshot.id {
        // A failed run rolls back itself.
        let data_loss = data_loss(cx, undone, id, "")?;
        let evidence = match cx.config().evidence && !cx.dry_run() {
            true => take(cx, undone)?,
            false => None,
        };
        return Ok(BrokenState {
            evidence,
            data_loss,
        });
    }
    // A rollback on request took it in its first step. Without that step the
    // VM may be gone, so do not wait for it.
    let Some(taken) = own.id else {
        return Ok(BrokenState::default());
    };
    Ok(BrokenState {
        data_loss: data_loss(cx, undone, id, RECORDS)?,
        evidence: (!cx.dry_run()).then_some(Evidence {
            id: taken,
            label: own.label,
        }),
    })
}

fn data_loss(
    cx: &Cx<Config>,
    undone: &UndoneRun,
    id: &str,
    note: &str,
) -> Result<Option<Vec<String>>, Error> {
    // The record of this snapshot is written again in the restored VM.
    let records: &[&str] = match undone.snapshot.ledger == "recorded" && note.is_empty() {
        true => &["data/commits.jsonl +1 line"],
        false => &[],
    };
    data_loss::warn(cx, &undone.before, id, records, note)
}

fn take(cx: &Cx<Config>, undone: &UndoneRun) -> Result<Option<Evidence>, Error> {
    let app = undone.before.app_dir.rsplit('/').next().unwrap_or_default();
    let sha = [&undone.pulled.new_sha, &undone.before.sha];
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
        Some(vm) => format!("; VM {vm} holds it until somebody deletes it"),
        None => String::new(),
    };
    warn(
        cx,
        &format!("the evidence snapshot of the broken state failed{old_vm}"),
        taken.map(drop),
    )?;
    Ok(evidence)
}
