//! Orphaned jobs: those of a fenced run. They are stopped before another run
//! changes the target.

use super::Jobs;
use std::time::Duration;
use vdeploy_core::backoff::deadline;
use vdeploy_core::capability::ssh::{Command, JobId};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;
use vdeploy_core::ids::RunId;

/// For all of them together.
const TIMEOUT: Duration = Duration::from_secs(60);
/// More than any run has at once.
const MAX_JOBS: usize = 64;

/// Prints the numbers of the jobs without an end. The file of the end is there
/// from the beginning; its line is not.
pub(super) const SCRIPT: &str = r#"cd "$HOME/.vdeploy/jobs/$1" 2>/dev/null || exit 0
for path in *.run; do
    number=${path%.run}
    [ -e "$path" ] || continue
    { read -r end <"$number.end"; } 2>/dev/null || [ -L "$number.sym" ] || echo "$number"
done"#;

impl Jobs<'_> {
    /// Stops every job of the run that may still be running, and returns them.
    pub(crate) async fn stop_orphans(&self, run: &RunId) -> Result<Vec<JobId>, EffectError> {
        let until = deadline(TIMEOUT);
        let mut command = Command::new("sh");
        let words = ["-c", SCRIPT, "sh", run.as_str()];
        command.args = words.map(str::to_owned).to_vec();
        command.timeout = TIMEOUT;
        let output = self.transport.probe(&command).await?;
        let numbers = String::from_utf8_lossy(&output.stdout).into_owned();
        let endpoint = self.transport.endpoint()?;
        let mut jobs = Vec::new();
        let numbers = numbers.lines().filter_map(|line| line.parse().ok());
        for effect in numbers.take(MAX_JOBS) {
            let job = JobId {
                run: run.clone(),
                effect,
            };
            let why = match self.stop_job(&endpoint, &job, until).await {
                Ok(true) => {
                    jobs.push(job);
                    continue;
                }
                Ok(false) => "it does not end, not even with KILL".to_owned(),
                Err(why) => why,
            };
            return Err(EffectError::new(
                ErrorKind::Unavailable,
                codes::SSH_JOB,
                format!(
                    "a command of run {run}, which was fenced, may still run on the target \
                     ({job}): {why}; nothing was started beside it"
                ),
            ));
        }
        Ok(jobs)
    }
}
