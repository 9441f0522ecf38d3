//! Makes the archive and declares it, only after it is written, read back and
//! renamed.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error, ResultExt};
use vdeploy_service::listener::{self, Port};
use vdeploy_service::outputs::Baseline;
use vdeploy_service::process::{field, with_functions};

use crate::{Archived, Config, MAKE, Quiesce, RESTORE, WhenUnchanged, fields, refused};

/// The deadline of the step is shorter.
const TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);
/// Here-document delimiter of `restore.sh` inside the script.
const END: &str = "END-OF-RESTORE-SH";

pub(crate) fn make(cx: &Cx<Config>) -> Result<Archived, Error> {
    let config = cx.config();
    let here: Option<Baseline> = cx.output_of("preflight")?;
    let unchanged = here.as_ref().is_some_and(|here| here.unchanged);
    if unchanged && config.when_unchanged == WhenUnchanged::Skip {
        return Ok(Archived {
            summary: "unchanged, no snapshot needed".to_owned(),
            skipped: true,
            self_managed: true,
            ..Archived::default()
        });
    }
    // The plan `rollback` has no preflight.
    let baseline = match here {
        None => cx.rolled_back_output_of("preflight")?.unwrap_or_default(),
        Some(here) => here,
    };
    let dirs = dirs(config, &baseline)?;
    let id = format!("{}-{}", config.label, cx.run_id());
    let label = label(config, &baseline);
    let (pid, start) = to_suspend(cx, &baseline)?;
    let needed: Archived = cx
        .rolled_back_output_of(&config.archive_step)?
        .unwrap_or_default();
    let output = cx
        .script("archive", &script())
        .args([&config.store, &id])
        .args([config.keep.to_string(), config.min_free_mb.to_string()])
        .args([&label, &cx.run_id(), &baseline.sha, &pid, &start])
        .args([needed.id.unwrap_or_default(), dirs.len().to_string()])
        .args(&dirs)
        .args(&config.exclude)
        .timeout(TIMEOUT)
        .exec()?;
    if cx.dry_run() {
        cx.snapshot().declare(&id, &label)?;
        return Ok(Archived {
            summary: format!("would archive {}", dirs.join(", ")),
            id: Some(id),
            label,
            self_managed: true,
            dirs,
            ..Archived::default()
        });
    }
    let text = output.into_success("make the archive")?.stdout_text();
    if !matches!(field(&text, "state"), Some("made" | "kept")) {
        return Err(refused(&text));
    }
    warn(cx, &text);
    cx.snapshot()
        .declare(&id, &label)
        .context("declare the archive")?;
    Ok(Archived {
        exclude: config.exclude.clone(),
        ..parse(&text, id, label)
    })
}

fn script() -> String {
    let carried =
        format!("restore_text() {{\ncat <<'{END}'\n{RESTORE}\nrestore \"$@\"\n{END}\n}}\n");
    with_functions(&format!("{RESTORE}\n{carried}\n{MAKE}"))
}

fn dirs(config: &Config, baseline: &Baseline) -> Result<Vec<String>, Error> {
    if !config.dirs.is_empty() {
        return Ok(config.dirs.clone());
    }
    if baseline.app_dir.is_empty() {
        return Err(Error::invalid(
            "archive.no-directory",
            "no step `preflight` found a checkout; set `dirs`",
        ));
    }
    Ok(vec![baseline.app_dir.clone()])
}

fn label(config: &Config, baseline: &Baseline) -> String {
    match baseline.sha.get(..7) {
        Some(sha) => format!("{} {sha}", config.label),
        None => config.label.clone(),
    }
}

/// Pid and start time of the service to suspend; empty for none.
fn to_suspend(cx: &Cx<Config>, baseline: &Baseline) -> Result<(String, String), Error> {
    if cx.config().quiesce == Quiesce::No || baseline.port == 0 {
        return Ok(Default::default());
    }
    match listener::find(cx, baseline.port)? {
        Port::Owned(found) if found.cwd.is_empty() || found.cwd == baseline.app_dir => {
            Ok((found.pid.to_string(), found.start_ticks.to_string()))
        }
        Port::Free => Ok(Default::default()),
        Port::Owned(_) | Port::Hidden { .. } => {
            cx.warn("the process on the port is not the service and was not suspended");
            Ok(Default::default())
        }
    }
}

fn warn(cx: &Cx<Config>, text: &str) {
    for moving in fields(text, "moving") {
        cx.warn(format!(
            "a file changed while it was read ({moving}); its copy in the archive may be inconsistent: `quiesce = \"pause\"` avoids that"
        ));
    }
    if let Some(other) = field(text, "other-owner") {
        cx.warn(format!(
            "{other} belongs to another user; a restore by the login user cannot restore that owner"
        ));
    }
    for pruned in fields(text, "pruned") {
        cx.info(format!("deleted the old archive {pruned}"));
    }
}

fn parse(text: &str, id: String, label: String) -> Archived {
    let store = field(text, "store").unwrap_or_default().to_owned();
    let kb = field(text, "kb")
        .and_then(|kb| kb.parse().ok())
        .unwrap_or(0);
    let by_hand = format!("sh '{}/{id}/restore.sh'", store.replace('\'', r"'\''"));
    Archived {
        summary: format!(
            "archive {id} of {} MiB in {store}; by hand, with the service stopped: {by_hand}",
            kb / 1024
        ),
        restore_by_hand: Some(format!("stop the service, then on the target: {by_hand}")),
        dirs: fields(text, "dir").map(str::to_owned).collect(),
        id: Some(id),
        self_managed: true,
        label,
        store,
        kb,
        ..Archived::default()
    }
}
