//! Restores commit, branch and hot-fixes of the checkout from before a run.
//!
//! This module must not know why, nor what is built from the checkout.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

use crate::facts::pairs;
use crate::remote::WORKDIR_FUNCTIONS;

const SWITCH_BACK: &str = include_str!("switch-back.sh");
const IDLE: Duration = Duration::from_secs(120);

/// The checkout before the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckoutState<'a> {
    /// Empty when the run has no output: then its note in `.vdeploy` gives the
    /// state, and without a note nothing is done.
    pub sha: &'a str,
    /// None when HEAD was detached.
    pub branch: Option<&'a str>,
    /// The patch with the hot-fixes, relative to the checkout.
    pub hot_fixes: Option<&'a str>,
    /// The run that changed the checkout.
    pub run: &'a str,
}

/// Returns false when the commit is restored but its hot-fixes cannot be
/// applied. A change; may be repeated.
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
        .into_success("restore the old commit")?
        .stdout_text();
    Ok(!pairs(&text).any(|pair| pair == ("hot-fixes", "failed")))
}
