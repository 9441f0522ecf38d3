//! The real host: the imports of the contract as plain functions.

use std::fmt;
use std::time::Duration;

use crate::export::step_world::vdeploy::plugin as wit;
use crate::http::RequestSpec;
use crate::ssh::CommandSpec;
use crate::{CheckStatus, Error, ErrorKind, Level, Output, Response};

pub(crate) use wit::context::{
    attempt, config, dry_run, failed_step, idempotency_key, output_of, plan_name,
    rolled_back_output_of, run_id, step_id, target_name, target_url, target_vm,
};

pub(crate) type SecretHandle = wit::secrets::Secret;

pub(crate) struct Headers(wit::http::Response);

impl Headers {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers(..)")
    }
}

impl From<wit::types::Error> for Error {
    fn from(error: wit::types::Error) -> Self {
        Self {
            kind: from_wit_kind(error.kind),
            code: error.code,
            message: error.message,
            maybe_applied: error.maybe_applied,
        }
    }
}

fn from_wit_kind(kind: wit::types::ErrorKind) -> ErrorKind {
    use wit::types::ErrorKind as Wit;
    match kind {
        Wit::Denied => ErrorKind::Denied,
        Wit::Invalid => ErrorKind::Invalid,
        Wit::NotFound => ErrorKind::NotFound,
        Wit::Conflict => ErrorKind::Conflict,
        Wit::Unavailable => ErrorKind::Unavailable,
        Wit::Timeout => ErrorKind::Timeout,
        Wit::Cancelled => ErrorKind::Cancelled,
        Wit::Failed => ErrorKind::Failed,
    }
}

pub(crate) fn to_wit_kind(kind: ErrorKind) -> wit::types::ErrorKind {
    use wit::types::ErrorKind as Wit;
    match kind {
        ErrorKind::Denied => Wit::Denied,
        ErrorKind::Invalid => Wit::Invalid,
        ErrorKind::NotFound => Wit::NotFound,
        ErrorKind::Conflict => Wit::Conflict,
        ErrorKind::Unavailable => Wit::Unavailable,
        ErrorKind::Timeout => Wit::Timeout,
        ErrorKind::Cancelled => Wit::Cancelled,
        ErrorKind::Failed => Wit::Failed,
    }
}

pub(crate) fn log(level: Level, message: &str) {
    use wit::log::Level as Wit;
    let level = match level {
        Level::Trace => Wit::Trace,
        Level::Debug => Wit::Debug,
        Level::Info => Wit::Info,
        Level::Warn => Wit::Warn,
        Level::Error => Wit::Error,
    };
    wit::log::emit(level, message);
}

pub(crate) fn report(name: &str, status: CheckStatus, duration_ms: u64, detail: Option<&str>) {
    use wit::checks::Status;
    let status = match status {
        CheckStatus::Passed => Status::Passed,
        CheckStatus::Failed => Status::Failed,
        CheckStatus::Skipped => Status::Skipped,
    };
    wit::checks::report(name, status, duration_ms, detail);
}

pub(crate) fn now_ms() -> u64 {
    wit::clock::now_unix_ms()
}

pub(crate) fn sleep_ms(duration: u64) {
    wit::clock::sleep_ms(duration);
}

pub(crate) fn secret_get(name: &str) -> Result<SecretHandle, Error> {
    Ok(wit::secrets::get(name)?)
}

pub(crate) fn reveal(secret: &SecretHandle) -> Result<String, Error> {
    Ok(wit::secrets_reveal::reveal(secret)?)
}

pub(crate) fn ssh(change: bool, spec: &CommandSpec) -> Result<Output, Error> {
    let command = wit::ssh::Command::new(&spec.program);
    for arg in &spec.args {
        command.arg(arg);
    }
    for (name, value) in &spec.env {
        command.env(name, value);
    }
    for (name, secret) in &spec.secret_env {
        command.secret_env(name, &secret.handle);
    }
    if let Some(path) = &spec.cwd {
        command.cwd(path);
    }
    if let Some(bytes) = &spec.stdin {
        command.stdin(bytes);
    }
    if let Some(duration) = spec.timeout {
        command.timeout_ms(millis(duration));
    }
    if let Some(duration) = spec.idle_timeout {
        command.idle_timeout_ms(millis(duration));
    }
    if let Some(limit) = spec.max_output {
        command.max_output_bytes(limit);
    }
    let output = if change {
        wit::ssh::exec(command)?
    } else {
        wit::ssh::probe(command)?
    };
    Ok(Output {
        exit_code: output.exit_code(),
        signal: output.signal(),
        stdout: output.stdout(),
        stderr: output.stderr(),
        truncated: output.truncated(),
    })
}

pub(crate) fn http(spec: &RequestSpec) -> Result<Response, Error> {
    Ok(response(wit::http::send(request(spec))?))
}

pub(crate) fn http_all(specs: &[RequestSpec]) -> Vec<Result<Response, Error>> {
    if specs.is_empty() {
        return Vec::new();
    }
    wit::http::send_all(specs.iter().map(request).collect())
        .into_iter()
        .map(|answer| answer.map(response).map_err(Error::from))
        .collect()
}

fn request(spec: &RequestSpec) -> wit::http::Request {
    let request = wit::http::Request::new(&spec.method, &spec.url);
    for (name, value) in &spec.headers {
        request.header(name, value);
    }
    for (name, prefix, secret) in &spec.secret_headers {
        request.secret_header(name, prefix, &secret.handle);
    }
    if let Some(bytes) = &spec.body {
        request.body(bytes);
    }
    if let Some(duration) = spec.timeout {
        request.timeout_ms(millis(duration));
    }
    if let Some(limit) = spec.max_response {
        request.max_response_bytes(limit);
    }
    if let Some((url, text)) = &spec.read_back {
        request.read_back(url, text);
    }
    request
}

fn response(answer: wit::http::Response) -> Response {
    Response {
        status: answer.status(),
        body: answer.body(),
        headers: Headers(answer),
    }
}

pub(crate) fn snapshot_create(label: &str) -> Result<String, Error> {
    Ok(wit::snapshot::create(label)?)
}

pub(crate) fn snapshot_restore(id: &str) -> Result<String, Error> {
    Ok(wit::snapshot::restore(id)?)
}

pub(crate) fn snapshot_exists(id: &str) -> Result<bool, Error> {
    Ok(wit::snapshot::exists(id)?)
}

pub(crate) fn snapshot_pause_old(vm: &str) -> Result<(), Error> {
    Ok(wit::snapshot::pause_old(vm)?)
}

pub(crate) fn snapshot_declare(id: &str, label: &str) -> Result<(), Error> {
    Ok(wit::snapshot::declare(id, label)?)
}

pub(crate) fn state_get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(wit::state::get(key)?)
}

pub(crate) fn state_put(key: &str, value: &[u8]) -> Result<(), Error> {
    Ok(wit::state::put(key, value)?)
}

pub(crate) fn state_delete(key: &str) -> Result<(), Error> {
    Ok(wit::state::delete(key)?)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
