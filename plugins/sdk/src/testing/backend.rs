//! The functions of the real host, answered by the fake one.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::http::RequestSpec;
use crate::ssh::CommandSpec;
use crate::testing::host_state::{HostState, current};
use crate::testing::{
    Answer, Call, CheckReport, FakeCommand, FakeOutput, FakeRequest, FakeResponse, gate::Passage,
};
use crate::{CheckStatus, Error, ErrorKind, Level, Output, Response};

/// Limit of the host for all answers to a plugin, in bytes.
const ROOM: u64 = 256 << 20;

/// Name and value.
#[derive(Debug)]
pub(crate) struct SecretHandle(String, String);

#[derive(Debug)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let mut headers = self.0.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(found.1.clone())
    }
}

fn state() -> Result<Rc<RefCell<HostState>>, Error> {
    current().ok_or_else(|| {
        Error::failed(
            "testing.no-host",
            "no fake host: call the step through vdeploy_plugin::testing",
        )
    })
}

fn fact<T>(read: impl FnOnce(&HostState) -> T, absent: T) -> T {
    current().map_or(absent, |state| read(&state.borrow()))
}

pub(crate) fn run_id() -> String {
    fact(|state| state.run_id.clone(), String::new())
}

pub(crate) fn step_id() -> String {
    fact(|state| state.step_id.clone(), String::new())
}

pub(crate) fn plan_name() -> String {
    fact(|state| state.plan_name.clone(), String::new())
}

pub(crate) fn attempt() -> u32 {
    fact(|state| state.attempt, 1)
}

pub(crate) fn idempotency_key() -> String {
    fact(
        |state| format!("{}/{}", state.run_id, state.step_id),
        String::new(),
    )
}

pub(crate) fn target_name() -> String {
    fact(|state| state.target_name.clone(), String::new())
}

pub(crate) fn target_vm() -> Option<String> {
    fact(|state| state.target_vm.clone(), None)
}

pub(crate) fn target_url() -> Option<String> {
    fact(|state| state.target_url.clone(), None)
}

pub(crate) fn config() -> String {
    fact(|state| state.config.to_string(), "{}".to_owned())
}

pub(crate) fn output_of(step: &str) -> Option<String> {
    fact(|state| state.outputs.get(step).map(Value::to_string), None)
}

pub(crate) fn rolled_back_output_of(step: &str) -> Option<String> {
    fact(
        |state| state.rolled_back.get(step).map(Value::to_string),
        None,
    )
}

pub(crate) fn failed_step() -> Option<String> {
    fact(|state| state.failed_step.clone(), None)
}

pub(crate) fn dry_run() -> bool {
    fact(|state| state.dry_run, false)
}

pub(crate) fn log(level: Level, message: &str) {
    if let Some(state) = current() {
        state.borrow_mut().logs.push((level, message.to_owned()));
    }
}

pub(crate) fn report(name: &str, status: CheckStatus, duration_ms: u64, detail: Option<&str>) {
    if let Some(state) = current() {
        state.borrow_mut().checks.push(CheckReport {
            name: name.to_owned(),
            status,
            duration: Duration::from_millis(duration_ms),
            detail: detail.map(str::to_owned),
        });
    }
}

pub(crate) fn now_ms() -> u64 {
    fact(|state| state.now_ms, 0)
}

pub(crate) fn sleep_ms(duration: u64) {
    if let Some(state) = current() {
        let mut state = state.borrow_mut();
        state.now_ms = state.now_ms.saturating_add(duration);
    }
}

pub(crate) fn secret_get(name: &str) -> Result<SecretHandle, Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    state.pass(Call::SecretGet {
        name: name.to_owned(),
    })?;
    match state.secrets.get(name) {
        Some(value) => Ok(SecretHandle(name.to_owned(), value.clone())),
        None => Err(Error::new(
            ErrorKind::NotFound,
            "secret.missing",
            format!("the project has no secret `{name}`"),
        )),
    }
}

pub(crate) fn reveal(secret: &SecretHandle) -> Result<String, Error> {
    state()?.borrow_mut().pass(Call::SecretReveal {
        name: secret.0.clone(),
    })?;
    Ok(secret.1.clone())
}

pub(crate) fn ssh(change: bool, spec: &CommandSpec) -> Result<Output, Error> {
    let state = state()?;
    let command = FakeCommand {
        program: spec.program.clone(),
        args: spec.args.clone(),
        env: spec.env.clone(),
        secret_env: spec
            .secret_env
            .iter()
            .map(|(name, secret)| {
                let SecretHandle(secret, value) = &*secret.handle;
                (name.clone(), secret.clone(), value.clone())
            })
            .collect(),
        cwd: spec.cwd.clone(),
        stdin: spec.stdin.clone().unwrap_or_default(),
        timeout: spec.timeout,
        idle_timeout: spec.idle_timeout,
        max_output: spec.max_output,
        change,
        now_ms: state.borrow().now_ms,
    };
    let passage = {
        let mut state = state.borrow_mut();
        let passage = state.pass(Call::Ssh(command.clone()))?;
        for (_, secret, _) in &command.secret_env {
            state.secret_may_go(secret, None)?;
        }
        passage
    };
    if passage == Passage::Pretend {
        return Ok(FakeOutput::ok("").0);
    }
    let mut handlers = std::mem::take(&mut state.borrow_mut().ssh);
    let answer = ask(&mut handlers, &command);
    state.borrow_mut().ssh.append(&mut handlers);
    match answer {
        Some(answer) => answer.map(|output| output.0),
        None => Err(unscripted(&state, &Call::Ssh(command))),
    }
}

pub(crate) fn http(spec: &RequestSpec) -> Result<Response, Error> {
    let state = state()?;
    let mut headers = spec.headers.clone();
    for (name, prefix, secret) in &spec.secret_headers {
        headers.push((name.clone(), format!("{prefix}{}", secret.handle.1)));
    }
    let request = FakeRequest {
        method: spec.method.clone(),
        url: spec.url.clone(),
        headers,
        body: spec.body.clone().unwrap_or_default(),
        timeout: spec.timeout,
        read_back: spec.read_back.clone(),
        now_ms: state.borrow().now_ms,
    };
    let passage = {
        let mut state = state.borrow_mut();
        let passage = state.pass(Call::Http(request.clone()))?;
        for (_, _, secret) in &spec.secret_headers {
            state.secret_may_go(secret.name(), Some(&spec.url))?;
        }
        passage
    };
    if passage == Passage::Pretend {
        return Ok(response(FakeResponse::new(200, "")));
    }
    let mut handlers = std::mem::take(&mut state.borrow_mut().http);
    let answer = ask(&mut handlers, &request);
    state.borrow_mut().http.append(&mut handlers);
    match answer {
        Some(answer) => answer.map(response),
        None => Err(unscripted(&state, &Call::Http(request))),
    }
}

pub(crate) fn http_all(specs: &[RequestSpec]) -> Vec<Result<Response, Error>> {
    let changing = specs
        .iter()
        .find(|spec| !matches!(spec.method.as_str(), "GET" | "HEAD"));
    if let Some(spec) = changing {
        let error = Error::invalid(
            "http.invalid",
            format!("send-all takes probes only, not {}", spec.method),
        );
        return specs.iter().map(|_| Err(error.clone())).collect();
    }
    let rooms = specs
        .iter()
        .map(|spec| spec.max_response.unwrap_or(1 << 20).min(16 << 20));
    let room = rooms.fold(0_u64, u64::saturating_add);
    if room > ROOM {
        let error = Error::invalid(
            "http.no-room",
            format!("the answers may take {room} bytes; the host holds {ROOM} for a plugin"),
        );
        return specs.iter().map(|_| Err(error.clone())).collect();
    }
    specs.iter().map(http).collect()
}

fn response(answer: FakeResponse) -> Response {
    Response {
        status: answer.status,
        body: answer.body,
        headers: Headers(answer.headers),
    }
}

fn ask<Q, T>(
    handlers: &mut [impl FnMut(&Q) -> Answer<T>],
    question: &Q,
) -> Option<Result<T, Error>> {
    handlers.iter_mut().find_map(|handler| handler(question).0)
}

fn unscripted(state: &RefCell<HostState>, call: &Call) -> Error {
    state.borrow_mut().unscripted.push(call.to_string());
    Error::failed("testing.unscripted", format!("nobody scripted: {call}"))
}

pub(crate) fn snapshot_create(label: &str) -> Result<String, Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    let passage = state.pass(Call::SnapshotCreate {
        label: label.to_owned(),
    })?;
    if passage == Passage::Pretend {
        return Ok("dry-run".to_owned());
    }
    state.snapshot_taken = true;
    if let Some((_, id)) = state.snapshots.iter().find(|(known, _)| known == label) {
        return Ok(id.clone());
    }
    let id = format!("snapshot-{}", state.snapshots.len() + 1);
    state.snapshots.push((label.to_owned(), id.clone()));
    state.known_snapshots.insert(id.clone());
    Ok(id)
}

pub(crate) fn snapshot_restore(id: &str) -> Result<String, Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    let passage = state.pass(Call::SnapshotRestore { id: id.to_owned() })?;
    if passage == Passage::Pretend {
        return Ok(state.target_vm.clone().unwrap_or_default());
    }
    if !state.known_snapshots.contains(id) {
        return Err(Error::new(
            ErrorKind::NotFound,
            "snapshot.failed",
            format!("the platform does not know snapshot `{id}`"),
        ));
    }
    let (vm, url) = state.restored_to.clone();
    if let Some(left) = state.target_vm.replace(vm.clone()) {
        state.left_vms.insert(left);
    }
    state.target_url = url;
    Ok(vm)
}

pub(crate) fn snapshot_exists(id: &str) -> Result<bool, Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    state.pass(Call::SnapshotExists { id: id.to_owned() })?;
    Ok(state.known_snapshots.contains(id))
}

pub(crate) fn snapshot_pause_old(vm: &str) -> Result<(), Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    let passage = state.pass(Call::SnapshotPauseOld { vm: vm.to_owned() })?;
    let is_target = state.target_vm.as_deref() == Some(vm);
    // In a dry run the restore was not made, so the old VM is still the target.
    let pretended = is_target && passage == Passage::Pretend;
    if !state.left_vms.contains(vm) && !pretended {
        return Err(Error::new(
            ErrorKind::Denied,
            "snapshot.not-left",
            format!("no restore of this run, or of the run that it rolls back, left VM `{vm}`"),
        ));
    }
    Ok(())
}

pub(crate) fn snapshot_declare(id: &str, label: &str) -> Result<(), Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    let passage = state.pass(Call::SnapshotDeclare {
        id: id.to_owned(),
        label: label.to_owned(),
    })?;
    let bad = |text: &str| text.len() > 256 || text.chars().any(char::is_control);
    if id.is_empty() || id.contains(char::is_whitespace) || bad(id) || bad(label) {
        return Err(Error::invalid(
            "snapshot.invalid",
            format!("`{id}` or its label cannot be shown in one line"),
        ));
    }
    if passage == Passage::Pretend {
        return Ok(());
    }
    state.snapshot_taken = true;
    state.prepared = false;
    if !state.snapshots.iter().any(|(_, known)| known == id) {
        state.snapshots.push((label.to_owned(), id.to_owned()));
    }
    Ok(())
}

pub(crate) fn state_get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    state.pass(Call::StateGet {
        key: key.to_owned(),
    })?;
    Ok(state.state.get(key).cloned())
}

pub(crate) fn state_put(key: &str, value: &[u8]) -> Result<(), Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    let passage = state.pass(Call::StatePut {
        key: key.to_owned(),
        value: value.to_owned(),
    })?;
    if passage == Passage::Perform {
        state.state.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

pub(crate) fn state_delete(key: &str) -> Result<(), Error> {
    let state = state()?;
    let mut state = state.borrow_mut();
    let passage = state.pass(Call::StateDelete {
        key: key.to_owned(),
    })?;
    if passage == Passage::Perform {
        state.state.remove(key);
    }
    Ok(())
}
