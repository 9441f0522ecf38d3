//! The Vers API and the VM's state there.

use crate::checks::{Report, split_fix};
use crate::error::OpsErrorKind;
use crate::target::vm::ResolvedVm;
use std::time::{Duration, Instant};
use vdeploy_core::ids::VmId;
use vdeploy_vers::{VersClient, VersError, VmState};

const API: &str = "Vers API";
const VM: &str = "VM";
/// How long the platform may think about a question.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A slower answer is worth a word.
const SLOW: Duration = Duration::from_secs(3);

/// Asks for the VM's state: that takes the network, the key and the VM.
pub(crate) async fn check(resolved: &ResolvedVm, vm: &VmId, report: &mut Report<'_>) -> Option<()> {
    let mut config = resolved.vers.clone();
    config.call_timeout = CALL_TIMEOUT;
    let client = match VersClient::new(&config) {
        Ok(client) => client,
        Err(error) => {
            let text = error.to_string();
            let (detail, fix) = split_fix(&text);
            report.fail(API, OpsErrorKind::Usage, detail, fix);
            return None;
        }
    };
    let began = Instant::now();
    match client.status(vm).await {
        Ok(found) => {
            answered(&config.base_url, began.elapsed(), report);
            state(vm, &found.state, report)
        }
        Err(error @ (VersError::NotYours { .. } | VersError::NotFound { .. })) => {
            answered(&config.base_url, began.elapsed(), report);
            let moved = match *vm == resolved.vm {
                true => String::new(),
                false => format!(" (the target moved there from {})", resolved.vm),
            };
            let text = error.to_string();
            let (detail, fix) = split_fix(&text);
            report.fail(
                VM,
                OpsErrorKind::Unreachable,
                format!("{detail}{moved}"),
                fix,
            );
            None
        }
        Err(error) => {
            let (detail, fix) = refusal(&error);
            report.fail(API, OpsErrorKind::Unreachable, detail, fix);
            None
        }
    }
}

fn answered(root: &str, took: Duration, report: &mut Report<'_>) {
    let took_ms = took.as_millis();
    match took > SLOW {
        true => report.warn(
            API,
            format!("{root} answers, but slowly ({took_ms} ms)"),
            "the platform is slow now: a snapshot may take minutes",
        ),
        false => report.pass(
            API,
            format!("{root} answers in {took_ms} ms and takes the key"),
        ),
    }
}

fn refusal(error: &VersError) -> (String, String) {
    let text = error.to_string();
    let fix = match (error, error.advice()) {
        (_, Some(advice)) => advice,
        (VersError::Key { .. }, _) => {
            "check the secret with the API key and the account that it belongs to; `vers` on the command line tells whether the key is good"
        }
        _ => {
            let (detail, fix) = split_fix(&text);
            return (detail.to_owned(), fix.to_owned());
        }
    };
    let detail = match error {
        VersError::Key { .. } => split_fix(&text).0.to_owned(),
        _ => text,
    };
    (detail, fix.to_owned())
}

fn state(vm: &VmId, state: &VmState, report: &mut Report<'_>) -> Option<()> {
    let fix = match state {
        VmState::Running => {
            report.pass(VM, format!("{vm} is running"));
            return Some(());
        }
        VmState::Paused | VmState::Sleeping => {
            report.fail(
                VM,
                OpsErrorKind::Unreachable,
                format!(
                    "{vm} is {state}, and a checkup resumes nothing (a run that changes it does)"
                ),
                format!("resume it and look again: vers resume {vm}"),
            );
            return None;
        }
        VmState::Booting => {
            "wait until it is running; if it stays so for minutes, restore a snapshot: vdeploy rollback --to snapshot".to_owned()
        }
        VmState::Dead => {
            "it is lost: bring its last snapshot back as a new VM: vdeploy rollback --to snapshot --without-snapshot \"the VM is lost\"".to_owned()
        }
        VmState::Unknown | VmState::Other(_) => format!("look at it: vers status {vm}"),
    };
    report.fail(
        VM,
        OpsErrorKind::Unreachable,
        format!("{vm} is {state}"),
        fix,
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Check, Status};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use vdeploy_core::capability::secrets::SecretValue;
    use vdeploy_vers::VersConfig;

    /// Answers everything with this, for as long as the test lasts.
    async fn api(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let (head, body) = answer.split_once('|').unwrap();
                let text = format!(
                    "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        format!("http://{address}")
    }

    async fn looked_at(url: String) -> (Vec<Check>, Option<OpsErrorKind>) {
        let key = SecretValue::new("s3cret-key".to_owned());
        let resolved = ResolvedVm {
            vm: "vm-1".into(),
            url: String::new(),
            user: "root".to_owned(),
            pinned: None,
            keepalive: None,
            vers: VersConfig::new(url, key),
            notice: None,
            oddity: None,
        };
        let mut report = Report::new(|_: &Check| {});
        check(&resolved, &"vm-1".into(), &mut report).await;
        let found = report.finish();
        let own = found.checks.into_iter();
        let own = own.filter(|check| check.status != Status::Skipped);
        (own.collect(), found.failure)
    }

    #[tokio::test]
    async fn each_fault_of_the_platform_has_its_name_and_its_fix() {
        for (answer, name, says, fix) in [
            (
                "500 Oops|broken",
                API,
                "status 500",
                "the platform has a fault",
            ),
            (
                "503 Busy|<html>",
                API,
                "status 503",
                "the platform has a fault",
            ),
            (
                "429 Slow\r\nretry-after: 3600|",
                API,
                "status 429",
                "too many requests",
            ),
            (
                "401 No|",
                API,
                "the API key is not accepted",
                "check the secret",
            ),
            (
                "403 No|403 Forbidden",
                API,
                "the API key is not accepted",
                "check the secret",
            ),
            (
                "403 No|{\"error\":\"not yours\"}",
                VM,
                "not yours",
                "check the id",
            ),
            ("404 No|{}", VM, "not found", "check the id"),
            ("200 OK|<html>", API, "not understood", "check `api-url`"),
            (
                "200 OK|{\"vm_id\":\"vm-1\",\"state\":\"Paused\"}",
                VM,
                "is paused",
                "vers resume",
            ),
            (
                "200 OK|{\"vm_id\":\"vm-1\",\"state\":\"booting\"}",
                VM,
                "is booting",
                "wait",
            ),
            (
                "200 OK|{\"vm_id\":\"vm-1\",\"state\":\"dead\"}",
                VM,
                "is dead",
                "rollback",
            ),
            (
                "200 OK|{\"vm_id\":\"vm-1\"}",
                VM,
                "is unknown",
                "vers status",
            ),
        ] {
            let (checks, exit) = looked_at(api(answer).await).await;
            let last = checks.last().unwrap();
            assert_eq!(exit, Some(OpsErrorKind::Unreachable), "{answer}");
            assert_eq!(last.name, name, "{answer}: {last:?}");
            assert!(last.detail.contains(says), "{answer}: {last:?}");
            let shown = last.fix.as_deref().unwrap_or_default();
            assert!(shown.contains(fix), "{answer}: {last:?}");
        }
        let running = api("200 OK|{\"vm_id\":\"vm-1\",\"state\":\"running\"}").await;
        assert_eq!(looked_at(running).await.1, None);
    }

    #[tokio::test]
    async fn a_platform_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (checks, exit) = looked_at(format!("http://{address}")).await;
        assert_eq!(exit, Some(OpsErrorKind::Unreachable));
        assert!(checks[0].detail.contains("cannot be reached"), "{checks:?}");
        let fix = checks[0].fix.as_deref().unwrap();
        assert!(fix.contains("check the network"), "{fix}");
    }
}
