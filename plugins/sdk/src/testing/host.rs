//! The builder of a fake host, and its records for assertions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use serde_json::Value;

use super::call::{Answer, Call, CheckReport, FakeCommand, FakeOutput, FakeRequest, FakeResponse};
use super::host_state::{Entered, HostState, Phase};
use super::manifest::Manifest;
use super::pattern::argv_matches;
use crate::{Error, ErrorKind, Level};

/// A scripted host. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct FakeHost(Rc<RefCell<HostState>>);

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FakeHost").field(&self.call_lines()).finish()
    }
}

impl FakeHost {
    /// A Vers target `infra` (VM `vm-1`, `https://vm-1.vm.vers.sh:3000`), an
    /// empty configuration, no answers, no snapshot yet.
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(HostState::new())))
    }

    fn set(self, change: impl FnOnce(&mut HostState)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }

    /// The text of `plugin.toml`: configuration gets its defaults, and calls that
    /// no `[[request]]` covers are refused.
    #[must_use]
    pub fn manifest(self, text: &str) -> Self {
        self.set(|state| state.manifest = Some(Manifest::parse(text)))
    }

    /// The configuration of this step in the plan.
    #[must_use]
    pub fn config(self, config: Value) -> Self {
        self.set(|state| state.config = config)
    }

    /// The output of an earlier step of this run.
    #[must_use]
    pub fn output(self, step: &str, output: Value) -> Self {
        self.set(|state| {
            state.outputs.insert(step.to_owned(), output);
        })
    }

    /// The output of a step of the run that is being rolled back.
    #[must_use]
    pub fn rolled_back_output(self, step: &str, output: Value) -> Self {
        self.set(|state| {
            state.rolled_back.insert(step.to_owned(), output);
        })
    }

    /// The step whose failure started the rollback.
    #[must_use]
    pub fn failed_step(self, step: &str) -> Self {
        self.set(|state| state.failed_step = Some(step.to_owned()))
    }

    /// A secret of the project.
    #[must_use]
    pub fn secret(self, name: &str, value: &str) -> Self {
        self.set(|state| {
            state.secrets.insert(name.to_owned(), value.to_owned());
        })
    }

    /// Answers changes with an empty success.
    #[must_use]
    pub fn dry_run(self, on: bool) -> Self {
        self.set(|state| state.dry_run = on)
    }

    /// Whether this run already has a snapshot.
    #[must_use]
    pub fn snapshot_taken(self, on: bool) -> Self {
        self.set(|state| state.snapshot_taken = on)
    }

    /// A snapshot from before this run.
    #[must_use]
    pub fn known_snapshot(self, id: &str) -> Self {
        self.set(|state| {
            state.known_snapshots.insert(id.to_owned());
        })
    }

    /// The VM and address after a restore.
    #[must_use]
    pub fn restores_to(self, vm: &str, url: Option<&str>) -> Self {
        self.set(|state| state.restored_to = (vm.to_owned(), url.map(str::to_owned)))
    }

    /// The old VM of an earlier restore in this run or the undone run; the step
    /// may pause it.
    #[must_use]
    pub fn left_vm(self, vm: &str) -> Self {
        self.set(|state| {
            state.left_vms.insert(vm.to_owned());
        })
    }

    /// The id of the run.
    #[must_use]
    pub fn run_id(self, id: &str) -> Self {
        self.set(|state| state.run_id = id.to_owned())
    }

    /// The id of this step in the plan.
    #[must_use]
    pub fn step_id(self, id: &str) -> Self {
        self.set(|state| state.step_id = id.to_owned())
    }

    /// Which try this is, from 1.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        self.set(|state| state.attempt = attempt)
    }

    /// The VM id of the target; `None` for a target that is not a Vers VM.
    #[must_use]
    pub fn target_vm(self, vm: Option<&str>) -> Self {
        self.set(|state| state.target_vm = vm.map(str::to_owned))
    }

    /// The address of the target, without a trailing slash.
    #[must_use]
    pub fn target_url(self, url: Option<&str>) -> Self {
        self.set(|state| state.target_url = url.map(str::to_owned))
    }

    #[must_use]
    pub fn state(self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.set(|state| {
            state.state.insert(key.to_owned(), value.into());
        })
    }

    /// Answers commands. Handlers are asked in the order they were added;
    /// `None` passes a command on to the next.
    #[must_use]
    pub fn ssh<A: Into<Answer<FakeOutput>>>(
        self,
        mut handler: impl FnMut(&FakeCommand) -> A + 'static,
    ) -> Self {
        self.set(|state| {
            let handler = move |command: &FakeCommand| handler(command).into();
            state.ssh.push(Box::new(handler));
        })
    }

    /// Answers every command whose argument list matches, in the grammar of
    /// grants: `git rev-parse *`, `sh -s -- listener **`.
    #[must_use]
    pub fn on_ssh(self, pattern: &str, output: FakeOutput) -> Self {
        let pattern = pattern.to_owned();
        self.ssh(move |command| matches(&pattern, command).then(|| output.clone()))
    }

    /// Answers matching commands with one output after the other, then repeats
    /// the last one.
    #[must_use]
    pub fn on_ssh_each(self, pattern: &str, outputs: impl IntoIterator<Item = FakeOutput>) -> Self {
        let pattern = pattern.to_owned();
        let mut outputs: VecDeque<FakeOutput> = outputs.into_iter().collect();
        self.ssh(move |command| {
            if !matches(&pattern, command) {
                return None;
            }
            if outputs.len() > 1 {
                outputs.pop_front()
            } else {
                outputs.front().cloned()
            }
        })
    }

    /// Answers requests, as [`FakeHost::ssh`] answers commands.
    #[must_use]
    pub fn http<A: Into<Answer<FakeResponse>>>(
        self,
        mut handler: impl FnMut(&FakeRequest) -> A + 'static,
    ) -> Self {
        self.set(|state| {
            let handler = move |request: &FakeRequest| handler(request).into();
            state.http.push(Box::new(handler));
        })
    }

    /// Answers every request with this method and path (the part of the URL
    /// after host and port, with its query).
    #[must_use]
    pub fn on_http(self, method: &str, path: &str, response: FakeResponse) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        self.http(move |request| {
            (request.method == method && request.path() == path).then(|| response.clone())
        })
    }

    /// Makes the `nth` capability call of this host fail, from 1.
    #[must_use]
    pub fn fail_call(self, nth: usize, error: Error) -> Self {
        self.set(|state| {
            state.faults.insert(nth, error);
        })
    }

    /// Every capability call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.0.borrow().calls.clone()
    }

    /// Every capability call as one line: `exec git fetch`, `POST https://…`.
    pub fn call_lines(&self) -> Vec<String> {
        self.0.borrow().calls.iter().map(Call::to_string).collect()
    }

    /// The calls that may have changed something, as lines.
    pub fn changes(&self) -> Vec<String> {
        let state = self.0.borrow();
        let changes = state.calls.iter().filter(|call| call.is_change());
        changes.map(Call::to_string).collect()
    }

    /// Every command so far.
    pub fn commands(&self) -> Vec<FakeCommand> {
        let state = self.0.borrow();
        let commands = state.calls.iter().filter_map(|call| match call {
            Call::Ssh(command) => Some(command.clone()),
            _ => None,
        });
        commands.collect()
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<FakeRequest> {
        let state = self.0.borrow();
        let requests = state.calls.iter().filter_map(|call| match call {
            Call::Http(request) => Some(request.clone()),
            _ => None,
        });
        requests.collect()
    }

    /// Every log line so far.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.0.borrow().logs.clone()
    }

    /// The warnings and errors so far.
    pub fn warnings(&self) -> Vec<String> {
        let state = self.0.borrow();
        let loud = state
            .logs
            .iter()
            .filter(|(level, _)| matches!(level, Level::Warn | Level::Error));
        loud.map(|(_, line)| line.clone()).collect()
    }

    /// Every named check so far.
    pub fn checks(&self) -> Vec<CheckReport> {
        self.0.borrow().checks.clone()
    }

    /// Labels and ids of the snapshots taken.
    pub fn snapshots(&self) -> Vec<(String, String)> {
        self.0.borrow().snapshots.clone()
    }

    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.0.borrow().state.get(key).cloned()
    }

    /// The fake clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.0.borrow().now_ms
    }

    pub(super) fn enter<T>(
        &self,
        phase: Phase,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        {
            let mut state = self.0.borrow_mut();
            state.phase = phase;
            state.unscripted.clear();
            state.reported = state.checks.len();
            if let Some(manifest) = &state.manifest {
                state.config = manifest.clone()?.complete(&state.config)?;
            }
        }
        let entered = Entered::new(&self.0);
        let result = call();
        drop(entered);
        let state = self.0.borrow();
        match state.unscripted.first() {
            Some(line) => Err(Error::failed(
                "testing.unscripted",
                format!("nobody scripted: {line}"),
            )),
            None if state.prepared && result.is_ok() => Err(Error::new(
                ErrorKind::Denied,
                "gate.not-declared",
                "the step ran commands to make a snapshot and did not declare one",
            )),
            None if result.is_ok() => match state.failed_check() {
                Some(error) => Err(error),
                None => result,
            },
            None => result,
        }
    }
}

fn matches(pattern: &str, command: &FakeCommand) -> bool {
    let mut argv = vec![command.program.as_str()];
    argv.extend(command.args.iter().map(String::as_str));
    argv_matches(pattern, &argv)
}
