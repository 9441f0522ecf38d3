//! The old version on the same VM: its commit, its build, its process. Each is
//! checked first and not touched if it is right.

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

use crate::{Config, UndoneRun};

pub(crate) fn roll_back(cx: &Cx<Config>, undone: &UndoneRun) -> Result<RolledBack, Error> {
    bring_back(cx, undone, false)
}

/// `anew`: build again even if the live build has the old commit.
pub(crate) fn bring_back(
    cx: &Cx<Config>,
    undone: &UndoneRun,
    anew: bool,
) -> Result<RolledBack, Error> {
    let before = &undone.before;
    if before.sha.is_empty() {
        return Err(Error::failed(
            "rollback.no-commit",
            "preflight found no commit in the checkout, so there is none to restore; use `to = \"snapshot\"`",
        ));
    }
    let found = owner(cx, before.port)?;
    let untouched = match (&found, &before.service) {
        (Some(found), Some(old)) => found.is_same_process(old),
        _ => false,
    };
    let goal = Goal::of(before, untouched);
    check_out(cx, undone, goal.head).context("restore the old commit")?;
    let old_build = restore_build(cx, undone, &goal, anew).context("restore the old build")?;
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
        && old_build == OldBuild::WasLive
        && runs_old_version(cx, before, found)?
        && !data::refuses(cx, &token)?
    {
        return Ok(RolledBack {
            summary: format!(
                "{} is live already: {} was started later",
                short(&before.sha),
                found.describe()
            ),
            service: Some(found.clone()),
            untouched: true,
            ..back
        });
    }
    // The old process has ended, but its unit is still known.
    let mut known: Vec<Listener> = before.service.iter().cloned().collect();
    if let Some(found) = found
        && (is_the_service(before, &found) || undone.started(cx, &found)?)
    {
        known.push(found);
    }
    let replaced = replace(
        cx,
        &Replace {
            launch: undone.launch(config, &token),
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

/// The commits that checkout and build must have.
#[derive(Debug)]
struct Goal<'a> {
    head: &'a str,
    build: &'a str,
    /// The old process still runs, with its loaded modules.
    untouched: bool,
}

impl<'a> Goal<'a> {
    /// If the old process never stopped, checkout and build become as they were
    /// before the run, even if they had other commits. Otherwise the old
    /// version starts again from its own commit and build.
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

fn read_facts(cx: &Cx<Config>, undone: &UndoneRun) -> Result<Facts, Error> {
    let before = &undone.before;
    facts::read(
        cx,
        &Location {
            app_dir: before.app_dir.clone(),
            port: Some(before.port),
            log: before.log.clone(),
        },
    )
}

fn check_out(cx: &Cx<Config>, undone: &UndoneRun, head: &str) -> Result<(), Error> {
    let before = &undone.before;
    let now = read_facts(cx, undone)?.checkout;
    if now.sha == head && now.branch == before.branch {
        return Ok(());
    }
    let mut hot_fixes = undone.pulled.hot_fixes.as_deref();
    if head != before.head {
        cx.warn(format!(
            "the checkout was at {} before the run, but {} was live; the rollback checks out the live one",
            short(&before.head),
            short(head)
        ));
        // They are for another commit.
        if let Some(patch) = hot_fixes.take() {
            cx.warn(format!(
                "the hot-fixes of {} are not applied; they are kept in {}/{patch}",
                short(&before.head),
                before.app_dir
            ));
        }
    }
    let back = checkout::CheckoutState {
        sha: head,
        branch: before.branch.as_deref(),
        hot_fixes,
        run: &undone.run,
    };
    if !checkout::switch_back(cx, &before.app_dir, &back)? {
        cx.warn(format!(
            "{} is checked out again, but its hot-fixes in {} cannot be applied",
            short(head),
            hot_fixes.unwrap_or_default()
        ));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OldBuild {
    WasLive,
    Restored,
}

/// Whether this is the service, whoever started it: the process on the port that
/// runs in the checkout, as in preflight.
fn is_the_service(before: &Baseline, found: &Listener) -> bool {
    let program = |exe: &str| exe.rsplit('/').next().unwrap_or_default().to_owned();
    !found.cwd.is_empty()
        && found.cwd == before.app_dir
        && before
            .service
            .as_ref()
            .is_none_or(|old| program(&old.exe) == program(&found.exe))
}

/// Whether a run started this process from the old version.
fn runs_old_version(cx: &Cx<Config>, before: &Baseline, found: &Listener) -> Result<bool, Error> {
    let marker = running_marker(cx, &before.app_dir)?;
    Ok(marker.is_some_and(|marker| marker.is_about(found) && marker.sha == before.sha))
}

/// `anew`: the live build is not the old one, whatever its marker says.
fn restore_build(
    cx: &Cx<Config>,
    undone: &UndoneRun,
    goal: &Goal<'_>,
    anew: bool,
) -> Result<OldBuild, Error> {
    let (config, before) = (cx.config(), &undone.before);
    let build_before = read_facts(cx, undone)?.built;
    build::restore(cx, &before.app_dir, &undone.run, &config.recipe.artifacts)?;
    let had = match is_old_build(before, build_before.as_ref(), goal.build) {
        true => OldBuild::WasLive,
        false => OldBuild::Restored,
    };
    if cx.dry_run() {
        return Ok(had);
    }
    let now = read_facts(cx, undone)?;
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
            "the old build is for node {for_node}, and node is {node} now; {} is built again",
            short(goal.build)
        ),
    });
    // Another name, so that a second try does not mistake this build for that of
    // the undone run.
    let run = format!("{}-rollback", undone.run);
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
    .map(|_| OldBuild::Restored)
}

/// Whether the live build has this commit. A build by hand has no marker; its
/// commit is HEAD.
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
        // The live version was not the checked-out one.
        assert!(!is_old_build(&by_hand, None, "older"));
    }
}
