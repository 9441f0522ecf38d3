//! The jobs of a run that the target has.

use super::Jobs;
use std::time::Duration;
use vdeploy_core::capability::ssh::Command;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::ids::RunId;

const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) const SCRIPT: &str = r#"cd "$HOME/.vdeploy/jobs/$1" 2>/dev/null || exit 0
for path in *.run; do
    [ ! -e "$path" ] || echo "${path%.run}"
done"#;

impl Jobs<'_> {
    /// The numbers of their effects.
    pub(crate) async fn list(&self, run: &RunId) -> Result<Vec<u64>, EffectError> {
        let mut command = Command::new("sh");
        let words = ["-c", SCRIPT, "sh", run.as_str()];
        command.args = words.map(str::to_owned).to_vec();
        command.timeout = TIMEOUT;
        let output = self.transport.probe(&command).await?;
        if output.exit_code != Some(0) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(EffectError::new(
                ErrorKind::Unavailable,
                codes::SSH_JOB,
                format!("the jobs of run {run} on the target cannot be listed: {said}"),
            ));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(said.lines().filter_map(|line| line.parse().ok()).collect())
    }
}
