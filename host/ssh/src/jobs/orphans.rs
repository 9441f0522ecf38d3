//! Jobs of a run that has lost its lease: they are ended before another run
//! changes the target beside them.

use super::RusshSsh;
use std::time::Duration;
use vdeploy_core::backoff::deadline;
use vdeploy_core::capability::ssh::{Command, JobId, NoLiveOutput, Ssh as _};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::ids::RunId;

/// All of it may take so long.
const WITHIN: Duration = Duration::from_secs(60);
/// More than any run has at once.
const MOST: usize = 64;

/// Says the numbers of the jobs that have no end yet. The file of the end is
/// there from the beginning; its line is not.
pub(super) const SCRIPT: &str = r#"cd "$HOME/.vdeploy/jobs/$1" 2>/dev/null || exit 0
for path in *.run; do
    number=${path%.run}
    [ -e "$path" ] || continue
    { read -r end <"$number.end"; } 2>/dev/null || [ -L "$number.sym" ] || echo "$number"
done"#;

impl RusshSsh {
    /// Ends every job of the run that may still go on; which ones those were.
    pub(crate) async fn stop_orphans(&self, run: &RunId) -> Result<Vec<JobId>, EffectError> {
        let until = deadline(WITHIN);
        let mut command = Command::new("sh");
        let words = ["-c", SCRIPT, "sh", run.as_str()];
        command.args = words.map(str::to_owned).to_vec();
        command.timeout = WITHIN;
        let output = self.run(&command, &NoLiveOutput).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let place = self.place()?;
        let mut jobs = Vec::new();
        for effect in said.lines().filter_map(|line| line.parse().ok()).take(MOST) {
            let job = JobId {
                run: run.clone(),
                effect,
            };
            let why = match self.stop_job(&place, &job, until).await {
                Ok(true) => {
                    jobs.push(job);
                    continue;
                }
                Ok(false) => "it does not end, not even with KILL".to_owned(),
                Err(why) => why,
            };
            return Err(EffectError::new(
                ErrorKind::Unavailable,
                "ssh.job",
                format!(
                    "a command of run {run}, which has lost the target, may still run there \
                     ({job}): {why}; nothing was started beside it"
                ),
            ));
        }
        Ok(jobs)
    }
}
