//! The old version on the same machine, from a snapshot that a plugin made by
//! its own means: a step `restore` has put its files back before this one, and
//! what is left is to start the version in them.

use vdeploy_plugin::{Cx, Error};
use vdeploy_service::rolled_back::{PutBack, RolledBack};

use crate::{Config, FailedRun, git};

/// What the step `restore` has put back; none where the platform restores.
pub(crate) fn put_back(cx: &Cx<Config>, failed: &FailedRun) -> Result<Option<PutBack>, Error> {
    let back: Option<PutBack> = cx.output_of("restore")?;
    let back = back.filter(|back| back.restored.is_some());
    if back.is_none() && failed.snapshot.self_managed {
        return Err(Error::failed(
            "rollback.not-restored",
            format!(
                "snapshot {} was made by a plugin, and no step `restore` has put it back; put one before this step, or use `to = \"in-place\"`",
                failed.snapshot.id.as_deref().unwrap_or("of the run")
            ),
        ));
    }
    Ok(back)
}

pub(crate) fn roll_back(
    cx: &Cx<Config>,
    failed: &FailedRun,
    put_back: &PutBack,
) -> Result<RolledBack, Error> {
    let before = &failed.before;
    let restored = put_back.restored.as_deref().unwrap_or_default();
    if before.service.is_none() && before.first_deploy {
        return Ok(RolledBack {
            summary: format!(
                "snapshot {restored} is restored; nothing ran in it{}",
                kept(put_back)
            ),
            to: "snapshot".to_owned(),
            no_live_version: true,
            app_dir: before.app_dir.clone(),
            port: before.port,
            log: before.log.clone(),
            lost: put_back.lost.clone(),
            ..RolledBack::default()
        });
    }
    let back = git::bring_back(cx, failed, built_anew(cx, put_back))?;
    Ok(RolledBack {
        summary: format!(
            "{}, from snapshot {restored}{}",
            back.summary,
            kept(put_back)
        ),
        to: "snapshot".to_owned(),
        lost: put_back.lost.clone(),
        ..back
    })
}

/// Where the broken state is.
fn kept(put_back: &PutBack) -> String {
    match put_back.kept.as_slice() {
        [] => String::new(),
        kept => format!("; the broken state is kept as {}", kept.join(", ")),
    }
}

/// A part of the build that the snapshot leaves out is that of the failed
/// version.
fn built_anew(cx: &Cx<Config>, put_back: &PutBack) -> bool {
    let artifacts = &cx.config().recipe.artifacts;
    put_back.carried.iter().any(|path| {
        let touches = |artifact: &String| {
            path == artifact
                || path.starts_with(&format!("{artifact}/"))
                || artifact.starts_with(&format!("{path}/"))
        };
        artifacts.iter().any(touches)
    })
}
