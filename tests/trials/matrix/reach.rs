//! How one process of a run reaches the target: the capabilities of a world,
//! each with the answers of [`Target`].

use crate::matrix::lease;
use crate::matrix::script::{Answer, answered};
use crate::matrix::target::Target;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use vdeploy_core::capability::http::{HeaderText, HopPolicy, Http, Request, Response};
use vdeploy_core::capability::snapshot::{Progress, Snapshot};
use vdeploy_core::capability::ssh::{Command, LiveOutput, Output, Ssh};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::ids::{SnapshotId, VmId};
use vdeploy_core::target::TargetHandle;
use vdeploy_journal::doubles::FailsAfter;

/// One process and the target.
#[derive(Clone, Debug)]
pub struct Reach {
    /// What is reached.
    pub target: Target,
    /// Where the process takes it to be.
    pub handle: TargetHandle,
    /// When it has failed, the process is dead.
    pub journal: Arc<FailsAfter>,
}

impl Reach {
    /// A process that is dead reaches nothing.
    fn alive(&self) -> Result<(), EffectError> {
        match self.journal.has_failed() {
            false => Ok(()),
            true => Err(EffectError::new(
                ErrorKind::Unavailable,
                "ssh.closed",
                "this process was killed",
            )),
        }
    }

    fn vm(&self) -> String {
        let vm = self.handle.facts().vm;
        vm.map(|vm| vm.to_string()).unwrap_or_default()
    }
}

#[async_trait]
impl Ssh for Reach {
    async fn connect(&self) -> Result<(), EffectError> {
        Ok(())
    }

    async fn run(&self, command: &Command, _: &dyn LiveOutput) -> Result<Output, EffectError> {
        self.alive()?;
        if lease::is_asked(&command.stdin) {
            return Ok(Output {
                exit_code: Some(0),
                stdout: self.target.lease(&self.vm(), &command.args).into_bytes(),
                ..Output::default()
            });
        }
        let secrets = command.secret_env.iter();
        // As the gate writes it into the journal.
        let request = json!({
            "program": command.program,
            "args": command.args,
            "env": command.env.iter().map(|(k, v)| json!([k, v])).collect::<Vec<_>>(),
            "secret-env": secrets.map(|(k, s)| json!([k, s.name])).collect::<Vec<_>>(),
            "cwd": command.cwd,
            "stdin": String::from_utf8_lossy(&command.stdin),
        });
        let request = self.target.script.timeless(&request);
        let answer = match &command.job {
            Some(job) => self.target.job(&self.vm(), &job.to_string(), &request),
            None => self.target.look("ssh.probe", &request),
        };
        output(&answer?).ok_or_else(unreadable)
    }

    async fn close(&self) {}
}

#[async_trait]
impl Http for Reach {
    async fn send(
        &self,
        request: &Request,
        policy: &dyn HopPolicy,
    ) -> Result<Response, EffectError> {
        self.alive()?;
        policy.allows(&request.method, &request.url)?;
        let headers = request.headers.iter().map(|(name, value)| match value {
            HeaderText::Plain(text) => json!([name, text]),
            HeaderText::Secret { prefix, secret } => {
                json!([name, prefix, { "secret": secret.name }])
            }
        });
        // As the gate writes it into the journal.
        let mut asked = json!({
            "method": request.method,
            "url": request.url.as_str(),
            "headers": headers.collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(&request.body),
        });
        if let (Some(read_back), Some(members)) = (&request.read_back, asked.as_object_mut()) {
            let value = json!({ "url": read_back.url.as_str(), "text": read_back.text });
            members.insert("read-back".to_owned(), value);
        }
        let asked = self.target.script.timeless(&asked);
        let answer = match request.is_probe() {
            true => self.target.look("http.send", &asked),
            false => self.target.post(&asked),
        };
        response(&answer?).ok_or_else(unreadable)
    }
}

#[async_trait]
impl Snapshot for Reach {
    async fn create(&self, label: &str, _: &dyn Progress) -> Result<SnapshotId, EffectError> {
        self.alive()?;
        let request = json!({ "label": label });
        let answer = self.target.change(&self.vm(), "snapshot.create", &request);
        id(&answer, "snapshot").map(SnapshotId::new)
    }

    async fn restore(&self, id: &SnapshotId, _: &dyn Progress) -> Result<VmId, EffectError> {
        self.alive()?;
        let request = json!({ "snapshot": id });
        let answer = self.target.change(&self.vm(), "snapshot.restore", &request);
        self.moved(&answer)
    }

    async fn exists(&self, id: &SnapshotId) -> Result<bool, EffectError> {
        let answer = self
            .target
            .look("snapshot.exists", &json!({ "snapshot": id }));
        answer?.as_bool().ok_or_else(unreadable)
    }

    async fn pause_old(&self, vm: &VmId) -> Result<(), EffectError> {
        self.alive()?;
        let request = json!({ "vm": vm });
        if let Some(paused) = self.target.made("snapshot.pause-old", &request) {
            return paused.map(drop);
        }
        let answer = self
            .target
            .change(&self.vm(), "snapshot.pause-old", &request);
        answer.map(drop)
    }

    async fn created(
        &self,
        label: &str,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<SnapshotId>, EffectError> {
        let made = self
            .target
            .made("snapshot.create", &json!({ "label": label }));
        let made = made.map(|answer| id(&answer, "snapshot"));
        Ok(made.transpose()?.map(SnapshotId::new))
    }

    async fn restored(
        &self,
        id: &SnapshotId,
        _: u64,
        _: &dyn Progress,
    ) -> Result<Option<VmId>, EffectError> {
        let made = self
            .target
            .made("snapshot.restore", &json!({ "snapshot": id }));
        made.map(|answer| self.moved(&answer)).transpose()
    }
}

impl Reach {
    /// The process goes on at the restored VM.
    fn moved(&self, answer: &Answer) -> Result<VmId, EffectError> {
        let vm = VmId::new(id(answer, "vm")?);
        self.handle.move_to(vm.clone());
        Ok(vm)
    }
}

fn id(answer: &Answer, key: &str) -> Result<String, EffectError> {
    if let Err(error) = answer {
        return Err(error.clone());
    }
    let id = answered(answer, key).map_err(|_| unreadable())?;
    Ok(id.to_owned())
}

fn unreadable() -> EffectError {
    EffectError::new(
        ErrorKind::Failed,
        "world.fault",
        "a recorded answer has another form",
    )
}

fn output(answer: &Value) -> Option<Output> {
    let exit_code = answer.get("exit-code")?.as_u64();
    Some(Output {
        exit_code: exit_code.and_then(|code| u32::try_from(code).ok()),
        signal: answer.get("signal")?.as_str().map(str::to_owned),
        stdout: answer.get("stdout")?.as_str()?.as_bytes().to_vec(),
        stderr: answer.get("stderr")?.as_str()?.as_bytes().to_vec(),
        truncated: answer.get("truncated")?.as_bool()?,
    })
}

fn response(answer: &Value) -> Option<Response> {
    let headers = answer.get("headers")?.as_array()?.iter();
    let text = |pair: &Value, at: usize| pair.get(at)?.as_str().map(str::to_owned);
    Some(Response {
        status: u16::try_from(answer.get("status")?.as_u64()?).ok()?,
        headers: headers
            .map(|pair| Some((text(pair, 0)?, text(pair, 1)?)))
            .collect::<Option<_>>()?,
        body: answer.get("body")?.as_str()?.as_bytes().to_vec(),
    })
}
