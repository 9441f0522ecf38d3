//! Brings the checkout to the wanted commit: fetch, save what reset would drop,
//! check out, `reset --hard`. Never `git clean`: the data is untracked.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

use std::time::Duration;

use serde::Deserialize;
use vdeploy_plugin::{Cx, Error, ResultExt, Step, Undo};
use vdeploy_service::checkout::{self, CheckoutState};
use vdeploy_service::facts::{self, Location, pairs};
use vdeploy_service::outputs::{Baseline, Pulled};
use vdeploy_service::records::short;
use vdeploy_service::remote::{self, WORKDIR_FUNCTIONS, is_full_sha};

const SWITCH: &str = include_str!("switch.sh");
const IDLE: Duration = Duration::from_secs(120);

#[derive(Debug, Deserialize)]
pub struct Config {
    #[serde(flatten)]
    location: Location,
    r#ref: String,
}

#[derive(Debug)]
pub struct GitPull;

impl Step for GitPull {
    type Config = Config;
    type Output = Pulled;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        remote::check_ref(&cx.config().r#ref)
    }

    fn run(cx: &Cx<Config>) -> Result<Pulled, Error> {
        let name = cx.config().r#ref.as_str();
        remote::check_ref(name)?;
        let baseline: Option<Baseline> = cx.output_of("preflight")?;
        if let Some(baseline) = baseline.as_ref().filter(|baseline| baseline.unchanged) {
            return Ok(Pulled {
                summary: format!("{} is checked out already", short(&baseline.sha)),
                old_sha: baseline.sha.clone(),
                new_sha: baseline.sha.clone(),
                old_branch: baseline.branch.clone(),
                run: cx.run_id(),
                ..Pulled::default()
            });
        }
        let found = facts::read(cx, &cx.config().location)?;
        let app_dir = found.app_dir(&cx.config().location)?;
        fetch(cx, app_dir, name)?;
        let wanted = resolve(cx, app_dir, name, baseline.as_ref())?;
        let text = switch(cx, app_dir, &wanted, baseline.as_ref())?;
        let value = |key| {
            let found = pairs(&text).find(|(found, _)| *found == key);
            found
                .map(|(_, value)| value)
                .filter(|value| !value.is_empty())
        };
        let old_sha = value("old-sha").unwrap_or(&found.checkout.sha).to_owned();
        let hot_fixes = value("hot-fixes").map(str::to_owned);
        if let Some(patch) = &hot_fixes {
            cx.warn(format!(
                "changes made on the target are no longer live; they are kept in {app_dir}/{patch}"
            ));
        }
        let changed = old_sha != wanted.sha;
        let summary = if changed && cx.dry_run() {
            format!(
                "would go from {} to {}",
                short(&old_sha),
                short(&wanted.sha)
            )
        } else if changed {
            format!("{} -> {}", short(&old_sha), short(&wanted.sha))
        } else {
            format!("{} as before", short(&wanted.sha))
        };
        Ok(Pulled {
            summary,
            old_branch: value("old-branch").map(str::to_owned),
            old_sha,
            new_sha: wanted.sha,
            changed,
            run: cx.run_id(),
            hot_fixes,
        })
    }
}

impl Undo for GitPull {
    fn undo(cx: &Cx<Config>, output: Option<Pulled>) -> Result<(), Error> {
        let pulled = output.unwrap_or_default();
        let location = &cx.config().location;
        let found = facts::read(cx, location)?;
        let Some(app_dir) = &found.app_dir else {
            cx.warn(format!("there is no checkout `{}`", location.app_dir));
            return Ok(());
        };
        let run = if pulled.run.is_empty() {
            cx.run_id()
        } else {
            pulled.run
        };
        let back = CheckoutState {
            sha: &pulled.old_sha,
            branch: pulled.old_branch.as_deref(),
            hot_fixes: pulled.hot_fixes.as_deref(),
            run: &run,
        };
        if !checkout::switch_back(cx, app_dir, &back)? {
            cx.warn("the old commit is restored, but its hot-fixes cannot be applied");
        }
        Ok(())
    }
}

struct Wanted {
    sha: String,
    branch: Option<String>,
}

fn fetch(cx: &Cx<Config>, app_dir: &str, name: &str) -> Result<(), Error> {
    let fetch = |extra: &[&str]| {
        remote::git(cx, app_dir)
            .args(["fetch", "--prune", "--tags", "--force", "origin"])
            .args(extra)
            .idle_timeout(IDLE)
            .exec()?
            .into_success("git fetch origin")
            .context("the target cannot fetch from the remote of its checkout")
    };
    fetch(&[])?;
    // A commit that no branch or tag contains is fetched by its id.
    if is_full_sha(name) && commit(cx, app_dir, name)?.is_none() && !cx.dry_run() {
        fetch(&[name])?;
    }
    Ok(())
}

/// The commit of preflight precedes the current one of the remote: snapshot,
/// label and checks are about that commit.
fn resolve(
    cx: &Cx<Config>,
    app_dir: &str,
    name: &str,
    baseline: Option<&Baseline>,
) -> Result<Wanted, Error> {
    let branch_tip = commit(cx, app_dir, &format!("refs/remotes/origin/{name}"))?;
    let branch = branch_tip.is_some().then(|| name.to_owned());
    let tip = match branch_tip {
        Some(sha) => Some(sha),
        None => match commit(cx, app_dir, &format!("refs/tags/{name}"))? {
            Some(sha) => Some(sha),
            None if is_full_sha(name) => commit(cx, app_dir, name)?,
            None => None,
        },
    };
    let seen = baseline
        .filter(|baseline| baseline.wanted_ref == name && !baseline.wanted_sha.is_empty())
        .map(|baseline| baseline.wanted_sha.as_str());
    if let Some(seen) = seen {
        let there = cx.dry_run() || commit(cx, app_dir, seen)?.is_some();
        if there {
            if let Some(tip) = tip.filter(|tip| tip != seen && !cx.dry_run()) {
                cx.warn(format!(
                    "`{name}` has moved to {} since preflight; this run deploys {}",
                    short(&tip),
                    short(seen)
                ));
            }
            return Ok(Wanted {
                sha: seen.to_owned(),
                branch,
            });
        }
    }
    match tip {
        Some(sha) => Ok(Wanted { sha, branch }),
        None => Err(Error::invalid(
            "git.ref",
            format!(
                "the checkout has no branch, tag or commit `{name}` after the fetch; set `ref`"
            ),
        )),
    }
}

/// The commit of `name` in the checkout.
fn commit(cx: &Cx<Config>, app_dir: &str, name: &str) -> Result<Option<String>, Error> {
    let output = cx
        .ssh("git")
        .args(["rev-parse", "--verify", "--quiet"])
        .arg(format!("{name}^{{commit}}"))
        .cwd(app_dir)
        .probe()?;
    let sha = output.stdout_text().trim().to_owned();
    Ok((output.ok() && is_full_sha(&sha)).then_some(sha))
}

fn switch(
    cx: &Cx<Config>,
    app_dir: &str,
    wanted: &Wanted,
    before: Option<&Baseline>,
) -> Result<String, Error> {
    let output = cx
        .script("switch", &format!("{WORKDIR_FUNCTIONS}\n{SWITCH}"))
        .arg(&wanted.sha)
        .arg(wanted.branch.as_deref().unwrap_or_default())
        .arg(cx.run_id())
        .args(unmarked(before))
        .cwd(app_dir)
        .idle_timeout(IDLE)
        .exec()?
        .into_success("check out the wanted commit")?;
    Ok(output.stdout_text())
}

/// Pid, start and commit of a service without a marker; else empty.
fn unmarked(before: Option<&Baseline>) -> [String; 3] {
    let unmarked = before.and_then(|before| {
        let service = before
            .service
            .as_ref()
            .filter(|_| before.marker().is_none())?;
        let (pid, start) = (service.pid, service.start_ticks);
        Some([pid.to_string(), start.to_string(), before.sha.clone()])
    });
    unmarked.unwrap_or_default()
}

vdeploy_plugin::register_undoable_step!(GitPull);

#[cfg(test)]
mod tests;
