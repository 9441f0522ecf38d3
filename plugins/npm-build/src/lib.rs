//! Installs and builds in a staging directory, then promotes the result by
//! renames. A failed build changes nothing live; the previous build is kept.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

use serde::Deserialize;
use vdeploy_plugin::{Cx, Error, Step, Undo};
use vdeploy_service::build::{self, BuildJob, Recipe, RestoreResult};
use vdeploy_service::facts::{self, Location};
use vdeploy_service::outputs::{Baseline, Built, PREVIOUS_DIR, Pulled};
use vdeploy_service::records::short;

#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    location: Location,
    #[serde(flatten)]
    recipe: Recipe,
}

#[derive(Debug)]
pub struct NpmBuild;

impl Step for NpmBuild {
    type Config = Config;
    type Output = Built;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        cx.config().recipe.validate()
    }

    fn run(cx: &Cx<Config>) -> Result<Built, Error> {
        let Config { location, recipe } = cx.config();
        let found = facts::read(cx, location)?;
        let app_dir = found.app_dir(location)?;
        let node = found.node.clone().ok_or_else(|| {
            Error::invalid("build.no-node", "the target has no `node` in its PATH")
        })?;
        let pulled: Option<Pulled> = cx.output_of("git-pull")?;
        let sha = match pulled {
            Some(pulled) if !pulled.new_sha.is_empty() => pulled.new_sha,
            _ => found.checkout.sha.clone(),
        };
        let built = Built {
            sha: sha.clone(),
            run: cx.run_id(),
            node: node.clone(),
            ..Built::default()
        };
        let unchanged = cx
            .output_of::<Baseline>("preflight")?
            .is_some_and(|baseline| baseline.unchanged && baseline.sha == sha);
        // A repeat after a crash finds its build live.
        let ours = found
            .built
            .as_ref()
            .is_some_and(|marker| marker.sha == sha && marker.run == cx.run_id());
        if unchanged {
            return Ok(Built {
                summary: format!("{} is built already", short(&sha)),
                skipped: true,
                ..built
            });
        }
        if ours {
            return Ok(Built {
                summary: format!("built {}", short(&sha)),
                modules: "installed".to_owned(),
                previous: Some(PREVIOUS_DIR.to_owned()),
                ..built
            });
        }
        let job = BuildJob {
            app_dir,
            sha: &sha,
            node: &node,
            run: &cx.run_id(),
        };
        let made = build::make(cx, recipe, job)?;
        if made.without_lock {
            cx.warn("no package-lock.json in the commit: the modules are what npm chose today");
        }
        let modules = if made.reused_modules {
            "reused"
        } else {
            "installed"
        };
        let summary = match cx.dry_run() {
            true => format!("would build {}", short(&sha)),
            false => format!("built {}, modules {modules}", short(&sha)),
        };
        Ok(Built {
            summary,
            modules: modules.to_owned(),
            previous: made.kept_previous.then(|| PREVIOUS_DIR.to_owned()),
            ..built
        })
    }
}

impl Undo for NpmBuild {
    fn undo(cx: &Cx<Config>, output: Option<Built>) -> Result<(), Error> {
        if output.as_ref().is_some_and(|built| built.skipped) {
            return Ok(());
        }
        let Config { location, recipe } = cx.config();
        let found = facts::read(cx, location)?;
        let Some(app_dir) = &found.app_dir else {
            cx.warn(format!("there is no checkout `{}`", location.app_dir));
            return Ok(());
        };
        let run = output.map_or_else(|| cx.run_id(), |built| built.run);
        let result = build::restore(cx, app_dir, &run, &recipe.artifacts)?;
        if cx.dry_run() {
            return Ok(());
        }
        match result {
            RestoreResult::Restored => cx.info("the previous build is live again"),
            RestoreResult::Removed => cx.info("there was no build before; the new one is removed"),
            RestoreResult::Untouched => {
                cx.info("another run made the live build; it was not touched")
            }
        }
        Ok(())
    }
}

vdeploy_plugin::register_undoable_step!(NpmBuild);

#[cfg(test)]
mod tests;
