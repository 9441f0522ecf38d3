//! Brings the checkout back to the commit, the branch and the hot-fixes that
//! it had before a run.
//!
//! This module must not know why, nor what is built from it.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

use crate::facts::pairs;
use crate::remote::WORKDIR_FUNCTIONS;

const SWITCH_BACK: &str = include_str!("switch-back.sh");
const IDLE: Duration = Duration::from_secs(120);

/// What the checkout had.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckoutState<'a> {
    /// Empty when the run that changed it did not tell: then its own note in
    /// `.vdeploy` says it, or nothing is done.
    pub sha: &'a str,
    /// None when HEAD was detached.
    pub branch: Option<&'a str>,
    /// The patch with the hot-fixes, relative to the checkout.
    pub hot_fixes: Option<&'a str>,
    /// The run that changed it.
    pub run: &'a str,
}

/// Switches back. False when the hot-fixes could not be applied again; the
/// commit stands then all the same. A change; may be repeated.
///
/// # Errors
/// `command.failed` with what git said, and those of ssh.
pub fn switch_back<C>(cx: &Cx<C>, app_dir: &str, back: &CheckoutState<'_>) -> Result<bool, Error> {
    let text = cx
        .script(
            "switch-back",
            &format!("{WORKDIR_FUNCTIONS}\n{SWITCH_BACK}"),
        )
        .args([back.sha, back.branch.unwrap_or_default()])
        .args([back.hot_fixes.unwrap_or_default(), back.run])
        .cwd(app_dir)
        .idle_timeout(IDLE)
        .exec()?
        .into_success("go back to the old commit")?
        .stdout_text();
    Ok(!pairs(&text).any(|pair| pair == ("hot-fixes", "failed")))
}
