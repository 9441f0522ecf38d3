//! Restores an archive: verifies and unpacks it next to the live directories,
//! stops the service, swaps the directories, and keeps the replaced ones. The
//! next step starts the old version.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error, ResultExt};
use vdeploy_service::data_loss::{self, RECORDS};
use vdeploy_service::listener::Listener;
use vdeploy_service::outputs::FilesRestored;
use vdeploy_service::outputs::{Baseline, Restarted};
use vdeploy_service::process::{self, Ended, field};
use vdeploy_service::replace::owner;
use vdeploy_service::start::stop_unit;

use crate::{Archived, Config, RESTORE, To, fields, refused};

const TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);

pub(crate) fn restore(cx: &Cx<Config>) -> Result<FilesRestored, Error> {
    let config = cx.config();
    if config.to == To::InPlace {
        return Ok(FilesRestored {
            summary: "nothing to restore: the rollback is in place".to_owned(),
            ..FilesRestored::default()
        });
    }
    let archived: Option<Archived> = cx.rolled_back_output_of(&config.archive_step)?;
    let Some((id, archived)) = archived.and_then(|a| Some((a.id.clone()?, a))) else {
        return Err(Error::failed(
            "archive.none",
            format!(
                "the run that is rolled back made no archive in its step `{}`; use `--to in-place`",
                config.archive_step
            ),
        ));
    };
    let before: Option<Baseline> = cx.rolled_back_output_of("preflight")?;
    let before = before.ok_or_else(|| {
        Error::invalid(
            "archive.no-baseline",
            "the run that is rolled back has no output of a step `preflight`, so the process to stop is unknown; nothing was touched",
        )
    })?;
    let restarted: Restarted = cx.rolled_back_output_of("restart")?.unwrap_or_default();
    let service = Service {
        before: &before,
        restarted: &restarted,
        dirs: &archived.dirs,
    };
    // A foreign process is refused before anything is unpacked.
    let found = service.on_port(cx)?;
    let data_loss = data_loss(cx, &before, &archived, &id)?;
    let place = format!("{}/{id}", archived.store);
    script(cx, "unpack", &place).context("unpack the archive")?;
    if cx.dry_run() {
        return Ok(FilesRestored {
            summary: format!("would restore archive {id}"),
            restored: Some(id),
            data_loss,
            ..FilesRestored::default()
        });
    }
    if found.is_some() {
        stop(cx, &service)?;
    }
    let text = script(cx, "swap", &place).context("swap the directories")?;
    let kept: Vec<String> = fields(&text, "kept").map(str::to_owned).collect();
    for kept in &kept {
        cx.warn(format!(
            "the broken state is in {kept}; delete it after inspection"
        ));
    }
    Ok(FilesRestored {
        summary: format!("archive {id} is restored to {}", archived.dirs.join(", ")),
        restored: Some(id),
        kept,
        carried: fields(&text, "carried").map(str::to_owned).collect(),
        data_loss,
    })
}

/// Empty when the archive does not contain the data directory, which then stays
/// as it is.
fn data_loss(
    cx: &Cx<Config>,
    before: &Baseline,
    archived: &Archived,
    id: &str,
) -> Result<Option<Vec<String>>, Error> {
    let data = format!("{}/data", before.app_dir);
    let has = |dir: &&String| data.starts_with(&format!("{}/", dir.trim_end_matches('/')));
    let Some(dir) = archived.dirs.iter().find(has) else {
        return Ok(Some(Vec::new()));
    };
    let excluded = |path: &String| {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        format!("{}/{path}", dir.trim_end_matches('/')) == data
    };
    if archived.exclude.iter().any(excluded) {
        return Ok(Some(Vec::new()));
    }
    // A rollback on request archived the broken state in its first step.
    let own: Archived = cx.output_of(&cx.config().archive_step)?.unwrap_or_default();
    let note = match own.id.as_deref() == Some(id) {
        true => "",
        false => RECORDS,
    };
    data_loss::warn(cx, before, id, &[], note)
}

fn script(cx: &Cx<Config>, action: &str, place: &str) -> Result<String, Error> {
    let output = cx
        .script("restore", &format!("{RESTORE}\nrestore \"$@\"\n"))
        .args([action, place, &cx.run_id()])
        .timeout(TIMEOUT)
        .exec()?;
    if cx.dry_run() {
        return Ok(String::new());
    }
    let text = output.into_success("restore the archive")?.stdout_text();
    match field(&text, "state") {
        Some("unpacked" | "swapped") => Ok(text),
        _ => Err(refused(&text)),
    }
}

/// Identifies the processes of the service.
struct Service<'a> {
    before: &'a Baseline,
    restarted: &'a Restarted,
    dirs: &'a [String],
}

impl Service<'_> {
    fn on_port(&self, cx: &Cx<Config>) -> Result<Option<Listener>, Error> {
        match owner(cx, self.before.port)? {
            Some(found) if !self.is(&found) => Err(Error::failed(
                "archive.foreign-process",
                format!(
                    "port {} belongs to {}, which is not the service; it was not touched and nothing was restored: terminate it yourself and try again",
                    self.before.port,
                    found.describe()
                ),
            )),
            found => Ok(found),
        }
    }

    fn is(&self, found: &Listener) -> bool {
        let known = self.before.service.iter().chain([&self.restarted.service]);
        let same = |known: &Listener| {
            known.is_same_process(found) || (known.unit.is_some() && known.unit == found.unit)
        };
        let inside = |dir: &String| {
            found.cwd == *dir
                || found
                    .cwd
                    .starts_with(&format!("{}/", dir.trim_end_matches('/')))
        };
        known.into_iter().any(same) || self.dirs.iter().any(inside)
    }
}

/// Finds the process again, because unpacking took time.
fn stop(cx: &Cx<Config>, service: &Service<'_>) -> Result<(), Error> {
    let Some(found) = service.on_port(cx)? else {
        return Ok(());
    };
    if let Some(unit) = &found.unit {
        return stop_unit(cx, unit);
    }
    let timeout = Duration::from_secs(cx.config().stop_timeout);
    if process::stop(cx, &found, service.before.port, timeout)? == Ended::Killed {
        cx.warn(format!("{} ignored TERM and was killed", found.describe()));
    }
    Ok(())
}
