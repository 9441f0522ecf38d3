//! The old version on a new VM, from the snapshot. Its process continues from the
//! memory of the VM, with its token; without memory it is started. The old VM is
//! paused only after the new one answers, and never deleted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use vdeploy_plugin::{Cx, Error, ErrorKind, ResultExt, Secret};
use vdeploy_service::listener::Listener;
use vdeploy_service::outputs::RolledBack;
use vdeploy_service::records::{CommitRecord, Records, VmEntry, host_of, short};
use vdeploy_service::replace::owner;
use vdeploy_service::start::{self, Launch, Supervisor};

use crate::evidence::{self, BrokenState, Evidence};
use crate::{Config, OldVm, UndoneRun, in_place, warn};

const RESTORED: &str = "restored";

/// What this run restored, so that a second try does not restore again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RestoredVm {
    run: String,
    snapshot: String,
    vm: String,
    old_vm: Option<String>,
    #[serde(default)]
    broken_state: BrokenState,
}

pub(crate) fn roll_back(cx: &Cx<Config>, undone: &UndoneRun) -> Result<RolledBack, Error> {
    let before = &undone.before;
    let id = undone.snapshot.id.as_deref().ok_or_else(|| {
        Error::failed(
            "rollback.no-snapshot",
            "the run that is rolled back took no snapshot; use `to = \"in-place\"`",
        )
    })?;
    let restored = restore(cx, undone, id)?;
    let mut back = RolledBack {
        to: "snapshot".to_owned(),
        port: before.port,
        log: before.log.clone(),
        sha: before.sha.clone(),
        vm: Some(restored.vm.clone()),
        old_vm: restored.old_vm.clone(),
        evidence: restored.broken_state.evidence.clone().map(|one| one.id),
        data_loss: restored.broken_state.data_loss.clone(),
        ..RolledBack::default()
    };
    if cx.dry_run() {
        back.summary = format!("would restore snapshot {id} to a new VM");
        return Ok(back);
    }
    let undone = &undone.relocated(cx)?;
    let before = &undone.before;
    back.app_dir.clone_from(&before.app_dir);
    back.port = before.port;
    back.log.clone_from(&before.log);

    let vm = &restored.vm;
    let token = cx.secret(&cx.config().auth_secret)?;
    let (service, from_memory) = if before.service.is_none() && before.first_deploy {
        // Nothing ran when the snapshot was taken.
        back.no_live_version = true;
        (None, false)
    } else {
        let found = serve(cx, undone, &token)?;
        answer(cx)
            .with_context(|| format!("VM {vm} is restored, but its service does not answer"))?;
        record(cx, undone, &restored, id, &token)?;
        found
    };
    let old_vm = release_old_vm(cx, restored.old_vm.as_deref())?;
    let how = match (&service, from_memory) {
        (None, _) => "nothing ran in it".to_owned(),
        (Some(service), true) => format!("pid {} continues from its memory", service.pid),
        (Some(service), false) => format!("pid {} was started in it", service.pid),
    };
    let evidence = match &back.evidence {
        Some(id) => format!("; the evidence snapshot is {id}"),
        None => String::new(),
    };
    back.summary = format!(
        "{} is live again in VM {vm}: {how}{old_vm}{evidence}",
        short(&before.sha)
    );
    back.service = service;
    Ok(back)
}

fn restore(cx: &Cx<Config>, undone: &UndoneRun, id: &str) -> Result<RestoredVm, Error> {
    let earlier: Option<RestoredVm> = cx.state().get_json(RESTORED)?;
    if let Some(earlier) = earlier
        && earlier.run == cx.run_id()
        && earlier.snapshot == id
        && cx.target_vm().as_ref() == Some(&earlier.vm)
    {
        return Ok(earlier);
    }
    if !cx.snapshot().exists(id)? {
        return Err(Error::failed(
            "rollback.snapshot-gone",
            format!("the platform no longer has snapshot {id}; use `to = \"in-place\"`"),
        ));
    }
    let old_vm = cx.target_vm().or_else(|| undone.snapshot.vm.clone());
    let broken_state = evidence::keep(cx, undone, id)?;
    let restored = RestoredVm {
        run: cx.run_id(),
        snapshot: id.to_owned(),
        vm: cx.snapshot().restore(id)?,
        old_vm,
        broken_state,
    };
    cx.state().put_json(RESTORED, &restored)?;
    Ok(restored)
}

/// Waits for the process from the memory of the VM, and starts one if there is
/// none. True when it came from memory.
fn serve(
    cx: &Cx<Config>,
    undone: &UndoneRun,
    token: &Secret,
) -> Result<(Option<Listener>, bool), Error> {
    let (config, before) = (cx.config(), &undone.before);
    let waited = cx.wait_until(
        Duration::from_secs(config.memory_timeout),
        "the process in the restored VM",
        || owner(cx, before.port),
    );
    match waited {
        Ok(found) => return Ok((Some(found), true)),
        Err(error) if error.code == "wait.timeout" => {}
        Err(error) => return Err(error),
    }
    if before.sha != before.built_sha() {
        // The build on its disk is not the live version.
        let back = in_place::bring_back(cx, undone, false)?;
        return Ok((back.service, false));
    }
    let unit = before.service.as_ref().and_then(|old| old.unit.as_deref());
    let launch = Launch {
        supervisor: unit.map_or(Supervisor::None, Supervisor::Unit),
        ..undone.launch(config, token)
    };
    start::start(cx, &launch).context("start the old version in the restored VM")?;
    Ok((owner(cx, before.port)?, false))
}

/// Waits until the service answers at the address of the new VM.
fn answer(cx: &Cx<Config>) -> Result<(), Error> {
    let url = cx.target_endpoint("/health")?;
    let timeout = Duration::from_secs(cx.config().ready_timeout);
    cx.wait_until(timeout, &format!("an answer from {url}"), || {
        match cx.http("GET", &url).timeout(Duration::from_secs(10)).send() {
            Ok(answer) if answer.ok() => Ok(Some(())),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Denied) => {
                Err(error)
            }
            // A new name and a new certificate can take a moment.
            Err(_) => Ok(None),
        }
    })
}

/// The restored ledger and registry lack the snapshot and the new VM, so they
/// are corrected. A failure is a warning.
fn record(
    cx: &Cx<Config>,
    undone: &UndoneRun,
    restored: &RestoredVm,
    id: &str,
    token: &Secret,
) -> Result<(), Error> {
    let records = Records::new(cx, token);
    let agent = &cx.config().agent;
    let mut commits = Vec::new();
    if let Some(vm) = undone.snapshot.vm.as_ref().or(restored.old_vm.as_ref()) {
        commits.push(CommitRecord {
            commit_id: id.to_owned(),
            vm_id: vm.clone(),
            label: undone.snapshot.label.clone(),
            agent: agent.clone(),
            tags: cx.config().tags.clone(),
        });
    }
    if let (Some(Evidence { id, label }), Some(vm)) =
        (&restored.broken_state.evidence, &restored.old_vm)
    {
        commits.push(CommitRecord {
            commit_id: id.clone(),
            vm_id: vm.clone(),
            label: label.clone(),
            agent: agent.clone(),
            tags: vec!["broken".to_owned()],
        });
    }
    for commit in commits {
        let what = format!(
            "the ledger of VM {} lacks snapshot {}",
            restored.vm, commit.commit_id
        );
        warn(cx, &what, records.record_commit(&commit).map(drop))?;
    }
    let registered = register(cx, &records, undone, restored);
    warn(
        cx,
        &format!("the registry does not show VM {}", restored.vm),
        registered,
    )?;
    if let Some(old) = &restored.old_vm {
        let stopped = match records.vm(old) {
            Ok(Some(_)) => records.patch_vm(old, &json!({"status": "stopped"})),
            other => other.map(drop),
        };
        warn(
            cx,
            &format!("the registry still shows VM {old} as running"),
            stopped,
        )?;
    }
    Ok(())
}

fn register(
    cx: &Cx<Config>,
    records: &Records<'_, Config>,
    undone: &UndoneRun,
    restored: &RestoredVm,
) -> Result<(), Error> {
    let config = cx.config();
    let old = match &restored.old_vm {
        Some(old) => records.vm(old)?,
        None => None,
    };
    let old = old.unwrap_or_else(|| VmEntry {
        name: cx.target_name(),
        role: config.role.clone(),
        services: json!([{
            "name": "agent-services", "port": undone.before.port, "healthPath": "/health",
        }]),
        ..VmEntry::default()
    });
    let url = cx.target_url().unwrap_or_default();
    records
        .put_vm(&VmEntry {
            id: restored.vm.clone(),
            status: "running".to_owned(),
            address: host_of(&url).to_owned(),
            registered_by: config.agent.clone(),
            ..old
        })
        .map(drop)
}

/// Agents would write to both services with one token, so the old one stops.
fn release_old_vm(cx: &Cx<Config>, old: Option<&str>) -> Result<String, Error> {
    let Some(old) = old.filter(|_| cx.config().old_vm == OldVm::Pause) else {
        return Ok(String::new());
    };
    let paused = cx.snapshot().pause_old(old);
    let note = match &paused {
        Ok(()) => format!("; the old VM {old} is paused"),
        Err(_) => format!("; the old VM {old} still runs"),
    };
    warn(
        cx,
        &format!("cannot pause the old VM {old}; agents may still write to it"),
        paused,
    )?;
    Ok(note)
}
