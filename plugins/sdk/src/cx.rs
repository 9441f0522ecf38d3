//! The context of a step: its configuration and its capabilities.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{
    CommandBuilder, Error, RequestBuilder, Response, ResultExt, Secret, Snapshots, State, backend,
    http, step,
};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Status of a named check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStatus {
    Passed,
    Failed,
    Skipped,
}

/// One call of a step: its configuration and the capabilities of the host.
#[derive(Debug)]
pub struct Cx<C> {
    config: C,
}

impl<C: DeserializeOwned> Cx<C> {
    pub(crate) fn load() -> Result<Self, Error> {
        let config = serde_json::from_str(&backend::config())
            .map_err(|error| Error::invalid("config.invalid", error.to_string()))
            .context("read the step's configuration")?;
        Ok(Self { config })
    }
}

impl<C> Cx<C> {
    /// The configuration of this step, with defaults.
    pub fn config(&self) -> &C {
        &self.config
    }

    /// The id of the run, the same for all steps.
    pub fn run_id(&self) -> String {
        backend::run_id()
    }

    /// The id of this step in the plan.
    pub fn step_id(&self) -> String {
        backend::step_id()
    }

    /// The name of the plan.
    pub fn plan_name(&self) -> String {
        backend::plan_name()
    }

    /// 1 on the first try.
    pub fn attempt(&self) -> u32 {
        backend::attempt()
    }

    /// The same for every retry of this step in this run.
    pub fn idempotency_key(&self) -> String {
        backend::idempotency_key()
    }

    /// The name of the target in the project file.
    pub fn target_name(&self) -> String {
        backend::target_name()
    }

    /// The current Vers VM id of the target; changes after a restore.
    pub fn target_vm(&self) -> Option<String> {
        backend::target_vm()
    }

    /// The address of the service from outside, without a trailing slash.
    pub fn target_url(&self) -> Option<String> {
        backend::target_url()
    }

    /// `path` (with its leading slash) at the address of the target.
    ///
    /// # Errors
    /// `target.no-url` when the project gives the target no address.
    pub fn target_endpoint(&self, path: &str) -> Result<String, Error> {
        match self.target_url() {
            Some(url) => Ok(format!("{url}{path}")),
            None => Err(Error::invalid(
                "target.no-url",
                format!(
                    "the target `{}` has no url; give it one in the project file",
                    self.target_name()
                ),
            )),
        }
    }

    /// True in a dry run: changes are not made and answer as if they succeeded.
    pub fn dry_run(&self) -> bool {
        backend::dry_run()
    }

    /// The step whose failure started the rollback, if one did.
    pub fn failed_step(&self) -> Option<String> {
        backend::failed_step()
    }

    /// The output of an earlier step of this run; `None` when it did not
    /// finish or is not in the plan.
    ///
    /// # Errors
    /// `json.invalid` when the output has another shape.
    pub fn output_of<T: DeserializeOwned>(&self, step: &str) -> Result<Option<T>, Error> {
        read_output(step, backend::output_of(step))
    }

    /// The output of a step of the run that is being rolled back; `None`
    /// outside a rollback.
    ///
    /// # Errors
    /// `json.invalid` when the output has another shape.
    pub fn rolled_back_output_of<T: DeserializeOwned>(
        &self,
        step: &str,
    ) -> Result<Option<T>, Error> {
        read_output(step, backend::rolled_back_output_of(step))
    }

    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        backend::log(level, message.as_ref());
    }

    /// Printed only with `--verbose`.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message);
    }

    /// Progress of the step.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message);
    }

    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message);
    }

    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message);
    }

    /// Reports a named check that passed.
    pub fn check_passed(&self, name: &str, duration: Duration, detail: Option<&str>) {
        backend::report(name, CheckStatus::Passed, millis(duration), detail);
    }

    /// Reports a named check that failed. `detail` says what was expected and
    /// what was found. The step then fails with `check.failed` even if it
    /// returns `Ok`, unless it reports the name again with another status.
    pub fn check_failed(&self, name: &str, duration: Duration, detail: Option<&str>) {
        backend::report(name, CheckStatus::Failed, millis(duration), detail);
    }

    /// Reports a named check that failed, and how to fix it. The detail is
    /// `what; fix: …`, which `vdeploy doctor` prints as two lines.
    pub fn check_failed_with(&self, name: &str, duration: Duration, what: &str, fix: &str) {
        self.check_failed(name, duration, Some(&with_fix(what, fix)));
    }

    /// Reports a named check that passed with a warning. It counts as passed;
    /// its detail begins with `warning: `.
    pub fn check_warned(&self, name: &str, duration: Duration, what: &str, fix: &str) {
        let detail = format!("warning: {}", with_fix(what, fix));
        self.check_passed(name, duration, Some(&detail));
    }

    /// Reports a named check that was skipped; `detail` says why.
    pub fn check_skipped(&self, name: &str, duration: Duration, detail: Option<&str>) {
        backend::report(name, CheckStatus::Skipped, millis(duration), detail);
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, from the host.
    pub fn now_ms(&self) -> u64 {
        backend::now_ms()
    }

    /// Waits. Use [`Cx::wait_until`] to wait for something.
    pub fn sleep(&self, duration: Duration) {
        backend::sleep_ms(millis(duration));
    }

    /// Calls `f` until it returns a value. The pause starts at 50 ms and doubles
    /// up to 1 s. An error of `f` ends the wait.
    ///
    /// # Errors
    /// The error of `f`, or `wait.timeout` naming `what` when `deadline` has
    /// passed.
    pub fn wait_until<T>(
        &self,
        deadline: Duration,
        what: &str,
        mut f: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let start = self.now_ms();
        let mut pause = FIRST_WAIT;
        loop {
            if let Some(value) = f()? {
                return Ok(value);
            }
            let waited = Duration::from_millis(self.now_ms().saturating_sub(start));
            let left = deadline.saturating_sub(waited);
            if left.is_zero() {
                return Err(Error::timeout(
                    "wait.timeout",
                    format!("waited {:.1} s for {what}", waited.as_secs_f64()),
                ));
            }
            self.sleep(pause.min(left));
            pause = pause.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    /// A granted secret. A probe.
    ///
    /// # Errors
    /// `secret.denied`, `secret.missing`.
    pub fn secret(&self, name: &str) -> Result<Secret, Error> {
        Ok(Secret::new(name, backend::secret_get(name)?))
    }

    /// The value of the secret; needs the grant `secrets-reveal`.
    ///
    /// # Errors
    /// `secret.reveal-denied`.
    pub fn reveal(&self, secret: &Secret) -> Result<String, Error> {
        backend::reveal(&secret.handle)
    }

    /// A command on the target.
    pub fn ssh(&self, program: &str) -> CommandBuilder {
        CommandBuilder::new(program)
    }

    /// A POSIX shell script on the target: `sh -s -- NAME args`, the text on
    /// standard input. `$1` of the script is the first `arg`, not the name.
    pub fn script(&self, name: &str, text: &str) -> CommandBuilder {
        CommandBuilder::script(name, text)
    }

    /// A request to an absolute URL.
    pub fn http(&self, method: &str, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(method, url.as_ref())
    }

    /// Sends probes in parallel; returns one answer each, in order.
    pub fn http_all(&self, requests: Vec<RequestBuilder>) -> Vec<Result<Response, Error>> {
        http::send_all(requests)
    }

    /// Snapshots of the target.
    pub fn snapshot(&self) -> Snapshots {
        Snapshots(())
    }

    /// Small durable values of this plugin and target.
    pub fn state(&self) -> State {
        State(())
    }
}

fn with_fix(what: &str, fix: &str) -> String {
    match fix {
        "" => what.to_owned(),
        fix => format!("{what}; fix: {fix}"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn read_output<T: DeserializeOwned>(step: &str, text: Option<String>) -> Result<Option<T>, Error> {
    text.as_deref()
        .map(step::decode)
        .transpose()
        .with_context(|| format!("output of step `{step}`"))
}
