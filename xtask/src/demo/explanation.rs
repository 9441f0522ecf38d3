//! What the demo says at its end: what was done, and commands that can be
//! pasted as they are.

use std::fmt;
use std::path::Path;

use super::token;
use crate::command::quoted;

/// What the commands need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Explanation<'a> {
    pub(super) vdeploy: &'a Path,
    pub(super) project: &'a Path,
    pub(super) state: &'a Path,
    pub(super) cloud: &'a Path,
    /// The file with the token.
    pub(super) token: &'a Path,
    pub(super) url: &'a str,
    pub(super) run: &'a str,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| quoted(path.as_os_str());
        let (vdeploy, state) = (path(self.vdeploy), path(self.state));
        let (project, cloud) = (path(self.project), path(self.cloud));
        let (run, url) = (self.run, self.url);
        let variable = token::VARIABLE;
        let token = format!("\"$(cat {})\"", path(self.token));
        write!(
            f,
            "\n\
             Version 2 is deployed and verified.\n\
             run {run}\n\
             \n\
             Where it runs:\n  {url}/version\n\
             What the run did:\n  \
             {vdeploy} runs show {run} --state {state}\n\
             Back to version 1:\n  \
             {variable}={token} {vdeploy} rollback {run} --project {project} --state {state}\n\
             Stop the local cloud:\n  \
             {vdeploy} local down --dir {cloud}\n",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_can_be_pasted_and_do_not_hold_the_token() {
        let text = Explanation {
            vdeploy: Path::new("/my target/vdeploy"),
            project: Path::new("/d/vdeploy.toml"),
            state: Path::new("/d/state"),
            cloud: Path::new("/d/cloud"),
            token: Path::new("/d/token"),
            url: "http://vm-1.vm.localhost:81",
            run: "01K",
        }
        .to_string();
        for line in [
            "  http://vm-1.vm.localhost:81/version",
            "  '/my target/vdeploy' runs show 01K --state /d/state",
            "  VERS_AUTH_TOKEN=\"$(cat /d/token)\" '/my target/vdeploy' rollback 01K \
             --project /d/vdeploy.toml --state /d/state",
            "  '/my target/vdeploy' local down --dir /d/cloud",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
