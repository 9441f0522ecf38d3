//! The old version on the same VM: its commit, its build, its process. Each is
//! looked at first, and left alone where it is right already.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error, ResultExt};
use vdeploy_service::build::{self, BuildJob};
use vdeploy_service::checkout;
use vdeploy_service::data;
use vdeploy_service::facts::{self, Facts, Location};
use vdeploy_service::listener::Listener;
use vdeploy_service::node::other_major;
use vdeploy_service::outputs::RolledBack;
use vdeploy_service::outputs::{Baseline, BuildMarker};
use vdeploy_service::records::short;
use vdeploy_service::replace::{Replace, owner, replace, running_marker};

use crate::{Config, FailedRun};

pub(crate) fn roll_back(cx: &Cx<Config>, failed: &FailedRun) -> Result<RolledBack, Error> {
    bring_back(cx, failed, false)
}

/// The same, where `anew` says that the build which is there is not the old one.
pub(crate) fn bring_back(
    cx: &Cx<Config>,
    failed: &FailedRun,
    anew: bool,
) -> Result<RolledBack, Error> {
    let before = &failed.before;
    if before.sha.is_empty() {
        return Err(Error::failed(
            "rollback.no-commit",
            "preflight found no commit in the checkout, so there is none to go back to; use `to = \"snapshot\"`",
        ));
    }
    let found = owner(cx, before.port)?;
    let untouched = match (&found, &before.service) {
        (Some(found), Some(old)) => found.is_same_process(old),
        _ => false,
    };
    let goal = Goal::of(before, untouched);
    check_out(cx, failed, goal.head).context("bring the old commit back")?;
    let built_back = put_build_back(cx, failed, &goal, anew).context("bring the old build back")?;
    let back = RolledBack {
        to: "in-place".to_owned(),
        port: before.port,
        log: before.log.clone(),
        sha: before.sha.clone(),
        ..RolledBack::default()
    };

    if let (Some(found), Some(old), true) = (&found, &before.service, untouched) {
        return Ok(RolledBack {
            summary: format!(
                "{} never stopped; {} is live",
                old.describe(),
                short(&before.sha)
            ),
            service: Some(found.clone()),
            untouched: true,
            ..back
        });
    }
    let config = cx.config();
    let token = cx.secret(&config.auth_secret)?;
    if let Some(found) = &found
        && built_back == BuildBack::WasThere
        && runs_old_version(cx, before, found)?
        && !data::refuses(cx, &token)?
    {
        return Ok(RolledBack {
            summary: format!(
                "{} is live already: {} was started since",
                short(&before.sha),
                found.describe()
            ),
            service: Some(found.clone()),
            untouched: true,
            ..back
        });
    }
    // The old process is gone, but it tells who keeps it.
    let mut known: Vec<Listener> = before.service.iter().cloned().collect();
    if let Some(found) = found
        && (is_the_service(before, &found) || failed.started(cx, &found)?)
    {
        known.push(found);
    }
    let replaced = replace(
        cx,
        &Replace {
            launch: failed.launch(config, &token),
            port: before.port,
            known: &known,
            foreign: None,
            unit: before.unit.as_deref(),
            stop_timeout: Duration::from_secs(config.stop_timeout),
            quiet: Duration::from_millis(config.quiet_ms),
            unit_allowed: true,
        },
    )
    .context("start the old version")?;
    if cx.dry_run() {
        return Ok(RolledBack {
            summary: format!("would start {} again", short(&before.sha)),
            ..back
        });
    }
    Ok(RolledBack {
        summary: format!(
            "{} is live again as pid {} on port {}",
            short(&before.sha),
            replaced.service.pid,
            before.port
        ),
        service: Some(replaced.service),
        log: replaced.started.log,
        ..back
    })
}

/// What checkout and build are brought back to.
#[derive(Debug)]
struct Goal<'a> {
    head: &'a str,
    build: &'a str,
    /// The old process runs, with the modules that it has loaded.
    untouched: bool,
}

impl<'a> Goal<'a> {
    /// Around a process that was never stopped everything is as it was before,
    /// also where that is of another commit. Otherwise the version that served
    /// is started again, from its own commit and build.
    fn of(before: &'a Baseline, untouched: bool) -> Self {
        let (head, build) = match untouched {
            true => (before.head.as_str(), before.built_sha()),
            false => (before.sha.as_str(), before.sha.as_str()),
        };
        Self {
            head,
            build,
            untouched,
        }
    }
}

fn look(cx: &Cx<Config>, failed: &FailedRun) -> Result<Facts, Error> {
    let before = &failed.before;
    facts::read(
        cx,
        &Location {
            app_dir: before.app_dir.clone(),
            port: Some(before.port),
            log: before.log.clone(),
        },
    )
}

fn check_out(cx: &Cx<Config>, failed: &FailedRun, head: &str) -> Result<(), Error> {
    let before = &failed.before;
    let now = look(cx, failed)?.checkout;
    if now.sha == head && now.branch == before.branch {
        return Ok(());
    }
    let mut hot_fixes = failed.pulled.hot_fixes.as_deref();
    if head != before.head {
        cx.warn(format!(
            "the checkout was at {} before the run, and what served was {}: that is checked out now",
            short(&before.head),
            short(head)
        ));
        // They were made on another commit.
        if let Some(patch) = hot_fixes.take() {
            cx.warn(format!(
                "the hot-fixes of {} are not applied to it; they are kept in {}/{patch}",
                short(&before.head),
                before.app_dir
            ));
        }
    }
    let back = checkout::CheckoutState {
        sha: head,
        branch: before.branch.as_deref(),
        hot_fixes,
        run: &failed.run,
    };
    if !checkout::switch_back(cx, &before.app_dir, &back)? {
        cx.warn(format!(
            "{} is checked out again, but its hot-fixes in {} could not be applied",
            short(head),
            hot_fixes.unwrap_or_default()
        ));
    }
    Ok(())
}

/// Whether the old build had to be brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BuildBack {
    WasThere,
    Brought,
}

/// Whether this is the service, whoever started it since: the process on the
/// port that works in the checkout, which is what preflight takes for the
/// service too.
fn is_the_service(before: &Baseline, found: &Listener) -> bool {
    let program = |exe: &str| exe.rsplit('/').next().unwrap_or_default().to_owned();
    !found.cwd.is_empty()
        && found.cwd == before.app_dir
        && before
            .service
            .as_ref()
            .is_none_or(|old| program(&old.exe) == program(&found.exe))
}

/// Whether the process was started by a run, from the old version.
fn runs_old_version(cx: &Cx<Config>, before: &Baseline, found: &Listener) -> Result<bool, Error> {
    let marker = running_marker(cx, &before.app_dir)?;
    Ok(marker.is_some_and(|marker| marker.is_about(found) && marker.sha == before.sha))
}

/// `anew`: the build that is there is not the old one, whatever its marker says.
fn put_build_back(
    cx: &Cx<Config>,
    failed: &FailedRun,
    goal: &Goal<'_>,
    anew: bool,
) -> Result<BuildBack, Error> {
    let (config, before) = (cx.config(), &failed.before);
    let build_before = look(cx, failed)?.built;
    build::restore(cx, &before.app_dir, &failed.run, &config.recipe.artifacts)?;
    let had = match is_old_build(before, build_before.as_ref(), goal.build) {
        true => BuildBack::WasThere,
        false => BuildBack::Brought,
    };
    if cx.dry_run() {
        return Ok(had);
    }
    let now = look(cx, failed)?;
    let entry = cx
        .ssh("test")
        .args(["-f", &config.recipe.entry])
        .cwd(&before.app_dir)
        .probe()?;
    let is_old = is_old_build(before, now.built.as_ref(), goal.build);
    let is_there = !anew && entry.ok() && is_old;
    if is_there && goal.untouched {
        return Ok(had);
    }
    let node = now.node.ok_or_else(|| {
        Error::invalid("rollback.no-node", "the target has no `node` in its PATH")
    })?;
    let for_node = now.built.map(|built| built.node).unwrap_or_default();
    let loads = !other_major(&for_node, &node);
    if is_there && loads {
        return Ok(had);
    }
    cx.warn(match loads {
        true => format!(
            "the old build is gone; {} is built again",
            short(goal.build)
        ),
        false => format!(
            "the old build is for node {for_node} and the target's is {node} now; {} is built again",
            short(goal.build)
        ),
    });
    // A name of its own, so that a second try does not take this build for the
    // failed run's.
    let run = format!("{}-rollback", failed.run);
    build::make(
        cx,
        &config.recipe,
        BuildJob {
            app_dir: &before.app_dir,
            sha: goal.build,
            node: &node,
            run: &run,
        },
    )
    .map(|_| BuildBack::Brought)
}

/// Whether the live build is the one of this commit. A build that was made by
/// hand has no marker: it is of the commit that was checked out.
fn is_old_build(before: &Baseline, now: Option<&BuildMarker>, sha: &str) -> bool {
    match (&before.built, now) {
        (_, Some(now)) => now.sha == sha,
        (None, None) => before.head == sha,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_of_another_commit_is_not_the_old_one() {
        let build = |sha: &str| BuildMarker {
            sha: sha.to_owned(),
            ..BuildMarker::default()
        };
        let before = |built: Option<BuildMarker>| Baseline {
            head: "old".to_owned(),
            built,
            ..Baseline::default()
        };
        let (old, new) = (build("old"), build("new"));
        let marked = before(Some(old.clone()));
        assert!(is_old_build(&marked, Some(&old), "old"));
        assert!(!is_old_build(&marked, Some(&new), "old"));
        assert!(!is_old_build(&marked, None, "old"));
        let by_hand = before(None);
        assert!(is_old_build(&by_hand, None, "old"));
        assert!(is_old_build(&by_hand, Some(&old), "old"));
        assert!(!is_old_build(&by_hand, Some(&new), "old"));
        // What served was not what was checked out.
        assert!(!is_old_build(&by_hand, None, "older"));
    }
}
