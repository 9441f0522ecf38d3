//! The broken state before it is left for a snapshot: it is taken as a snapshot
//! itself, so that what went wrong can be looked at, and what the service has
//! written since the old one is said before it is gone.

use serde::{Deserialize, Serialize};
use vdeploy_plugin::{Cx, Error};
use vdeploy_service::baseline::SnapshotTaken;
use vdeploy_service::facts::{self, Place};
use vdeploy_service::records::short;
use vdeploy_service::written;

use crate::{Config, FailedRun, warn};

/// What is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Broken {
    /// The snapshot of it.
    pub(crate) evidence: Option<Evidence>,
    /// What was written since the baseline; none when that is not known.
    pub(crate) lost: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Evidence {
    pub(crate) id: String,
    pub(crate) label: String,
}

/// Looks at it and keeps it. Neither stops the rollback when it fails: the old
/// version is wanted back, and the old VM is not deleted.
pub(crate) fn keep(cx: &Cx<Config>, failed: &FailedRun, id: &str) -> Result<Broken, Error> {
    let lost = lost(cx, failed, id)?;
    Ok(Broken {
        evidence: evidence(cx, failed)?,
        lost,
    })
}

fn lost(cx: &Cx<Config>, failed: &FailedRun, id: &str) -> Result<Option<Vec<String>>, Error> {
    let before = &failed.before;
    let place = Place {
        app_dir: before.app_dir.clone(),
        port: Some(before.port),
        log: before.log.clone(),
    };
    let found = facts::look(cx, &place);
    let lost = found.as_ref().ok().map(|facts| {
        let mut lost = written::since(&before.data_files, &facts.data_files);
        if failed.snapshot.ledger == "recorded" {
            // That run's own record; it is written again in the restored VM.
            lost.retain(|line| line != "data/commits.jsonl +1 line");
        }
        lost
    });
    warn(
        cx,
        &format!("what was written since snapshot {id} was taken, and is not in it, is not known"),
        found.map(drop),
    )?;
    if let Some(lost) = lost.as_ref().filter(|lost| !lost.is_empty()) {
        cx.warn(format!(
            "snapshot {id} does not have what was written since the run's preflight: {}",
            lost.join("; ")
        ));
    }
    Ok(lost)
}

fn evidence(cx: &Cx<Config>, failed: &FailedRun) -> Result<Option<Evidence>, Error> {
    // A plan that only rolls back has taken it as its first step.
    let own: SnapshotTaken = cx.output_of("snapshot")?.unwrap_or_default();
    if let Some(id) = own.id.filter(|id| failed.snapshot.id.as_ref() != Some(id)) {
        return Ok(Some(Evidence {
            id,
            label: own.label,
        }));
    }
    if !cx.config().evidence {
        return Ok(None);
    }
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
