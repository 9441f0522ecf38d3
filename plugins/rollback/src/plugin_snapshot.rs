//! The old version on the same machine, from a plugin snapshot. The step
//! `restore` restored its files before this one, which starts the old version.

use vdeploy_plugin::{Cx, Error};
use vdeploy_service::outputs::{FilesRestored, RolledBack};

use crate::{Config, UndoneRun, in_place};

/// The output of the step `restore`; none when the platform restores.
pub(crate) fn files_restored(
    cx: &Cx<Config>,
    undone: &UndoneRun,
) -> Result<Option<FilesRestored>, Error> {
    let back: Option<FilesRestored> = cx.output_of("restore")?;
    let back = back.filter(|back| back.restored.is_some());
    if back.is_none() && undone.snapshot.self_managed {
        return Err(Error::failed(
            "rollback.not-restored",
            format!(
                "a plugin made snapshot {}, and no step `restore` restored it; add one before this step, or use `to = \"in-place\"`",
                undone.snapshot.id.as_deref().unwrap_or("of the run")
            ),
        ));
    }
    Ok(back)
}

pub(crate) fn roll_back(
    cx: &Cx<Config>,
    undone: &UndoneRun,
    restored_files: &FilesRestored,
) -> Result<RolledBack, Error> {
    let before = &undone.before;
    let restored = restored_files.restored.as_deref().unwrap_or_default();
    if before.service.is_none() && before.first_deploy {
        return Ok(RolledBack {
            summary: format!(
                "snapshot {restored} is restored; nothing ran in it{}",
                kept(restored_files)
            ),
            to: "snapshot".to_owned(),
            no_live_version: true,
            app_dir: before.app_dir.clone(),
            port: before.port,
            log: before.log.clone(),
            data_loss: restored_files.data_loss.clone(),
            ..RolledBack::default()
        });
    }
    let back = in_place::bring_back(cx, undone, must_rebuild(cx, restored_files))?;
    Ok(RolledBack {
        summary: format!(
            "{}, from snapshot {restored}{}",
            back.summary,
            kept(restored_files)
        ),
        to: "snapshot".to_owned(),
        data_loss: restored_files.data_loss.clone(),
        ..back
    })
}

fn kept(restored_files: &FilesRestored) -> String {
    match restored_files.kept.as_slice() {
        [] => String::new(),
        kept => format!("; the broken state is kept as {}", kept.join(", ")),
    }
}

/// Parts of the build that the snapshot excludes still have the new version.
fn must_rebuild(cx: &Cx<Config>, restored_files: &FilesRestored) -> bool {
    let artifacts = &cx.config().recipe.artifacts;
    restored_files.carried.iter().any(|path| {
        let touches = |artifact: &String| {
            path == artifact
                || path.starts_with(&format!("{artifact}/"))
                || artifact.starts_with(&format!("{path}/"))
        };
        artifacts.iter().any(touches)
    })
}
