//! Reaching the target: connection, TLS, host key, login; then its clock,
//! its home, and who holds it.

use crate::checks::{Report, split_fix};
use crate::error::OpsErrorKind;
use crate::overlay::Overlay;
use std::time::Duration;
use vdeploy_core::capability::ssh::{Command, NoLiveOutput};
use vdeploy_core::capability::{EffectError, World};
use vdeploy_core::codes;
use vdeploy_journal::StoreError;
use vdeploy_journal::store::Holder;
use vdeploy_lease::LeaseHolder;
use vdeploy_lease::target;

/// Connecting has deadlines of its own within this one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// A larger difference breaks certificates and confuses people.
const SKEW_SECS: u64 = 60;

/// Connects and asks the target for a little. Whether it can be used.
pub(super) async fn check(world: &World, store: &Overlay, report: &mut Report<'_>) -> bool {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, world.ssh.connect()).await;
    match connected {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            refused(&error, report);
            return false;
        }
        Err(_) => {
            report.fail(
                "connection",
                OpsErrorKind::Unreachable,
                format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
                "check that the target is running and the network",
            );
            return false;
        }
    }
    report.pass("connection", "SSH answers");
    let facts = world.target.facts();
    let vm = facts
        .vm
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    match store.new_fact(&facts.name, &format!("host-key:{vm}")) {
        Some(key) => report.warn(
            "host key",
            format!("{key} is not known yet: the first run pins it"),
            format!(
                "compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the target, \
                 then write host-key = \"{key}\""
            ),
        ),
        None => report.pass("host key", "the expected one"),
    }
    guest(world, report).await
}

/// The stages that lie before the one that refused went well.
fn refused(error: &EffectError, report: &mut Report<'_>) {
    let (detail, fix) = split_fix(&error.message);
    let (stage, fix) = match error.code.as_str() {
        codes::SSH_TLS => ("TLS", fix),
        codes::SSH_HOST_KEY => (
            "host key",
            "somebody may be in between: compare with `ssh-keygen -lf \
             /etc/ssh/ssh_host_ed25519_key.pub` on the target, and only if it is right set \
             `host-key` to it",
        ),
        codes::SSH_AUTH => ("login", fix),
        _ => ("connection", fix),
    };
    let detail = match stage {
        "host key" => error.message.split("; ").next().unwrap_or(detail),
        _ => detail,
    };
    if stage != "connection" {
        report.pass("connection", "something answers");
    }
    report.fail(stage, OpsErrorKind::Unreachable, detail, fix);
}

/// Whether the login gives a shell, what time it is there, and whether the
/// lease can be kept.
async fn guest(world: &World, report: &mut Report<'_>) -> bool {
    let script = "date +%s; if [ -w \"$HOME\" ]; then echo writable; fi";
    let command = Command {
        args: vec!["-c".to_owned(), script.to_owned()],
        timeout: Duration::from_secs(20),
        ..Command::new("sh")
    };
    let before = world.clock.now_unix_ms() / 1000;
    let output = match world.ssh.run(&command, &NoLiveOutput).await {
        Ok(output) if output.exit_code == Some(0) => output,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            report.fail(
                "login",
                OpsErrorKind::Unreachable,
                format!("a shell command fails there: {said}"),
                "the login user needs a POSIX shell that runs commands: check it in /etc/passwd",
            );
            return false;
        }
        Err(error) => {
            let (detail, fix) = split_fix(&error.message);
            report.fail("login", OpsErrorKind::Unreachable, detail, fix);
            return false;
        }
    };
    let after = world.clock.now_unix_ms() / 1000;
    report.pass("login", "commands run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = said.lines();
    if let Some(there) = lines
        .next()
        .and_then(|line| line.trim().parse::<u64>().ok())
    {
        clock(there, before, after, report);
    }
    if !lines.any(|line| line == "writable") {
        report.fail(
            "home directory",
            OpsErrorKind::Refused,
            "the login user may not write in its home directory, so no lease can be kept there",
            "chown it to that user, or set `user`",
        );
        return false;
    }
    true
}

/// The target's time against the span in which it was asked.
fn clock(there: u64, before: u64, after: u64, report: &mut Report<'_>) {
    let (ahead, behind) = (there.saturating_sub(after), before.saturating_sub(there));
    let (off, word) = match ahead > behind {
        true => (ahead, "ahead of"),
        false => (behind, "behind"),
    };
    match off > SKEW_SECS {
        true => report.warn(
            "clock",
            format!("the target's clock is {off} s {word} this machine's"),
            "set it there (a restored VM keeps the time of its snapshot until NTP runs), or here",
        ),
        false => report.pass("clock", "the same as here"),
    }
}

/// Who holds the target, by the store and by the target itself.
pub(super) async fn lease(
    world: &World,
    reached: bool,
    stored: Result<Option<Holder>, StoreError>,
    report: &mut Report<'_>,
) {
    let name = world.target.facts().name;
    let held = |message: String, report: &mut Report<'_>| {
        let (who, next) = message
            .split_once(". ")
            .map_or((message.as_str(), ""), |(who, next)| (who, next));
        report.fail("lease", OpsErrorKind::Held, who, next);
    };
    if let Ok(Some(holder)) = &stored {
        let now = world.clock.now_unix_ms();
        return held(
            LeaseHolder::in_store(holder, now).message(&name, None),
            report,
        );
    }
    if !reached {
        return;
    }
    match target::holder(&*world.ssh, target::ANSWER_WITHIN).await {
        Ok(None) => report.pass("lease", "nobody holds the target"),
        Ok(Some(holder)) => held(holder.message(&name, None), report),
        Err(error) => {
            let text = error.to_string();
            let (detail, fix) = split_fix(&text);
            report.fail("lease", OpsErrorKind::Refused, detail, fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Check, Status};
    use vdeploy_core::capability::ErrorKind;

    #[test]
    fn a_clock_is_judged_by_the_span_in_which_it_was_asked() {
        for (there, status) in [
            (1000, Status::Passed),
            (1069, Status::Passed),
            (931, Status::Passed),
            (1071, Status::Warned),
            (929, Status::Warned),
        ] {
            let mut report = Report::new(|_: &Check| {});
            clock(there, 990, 1010, &mut report);
            assert_eq!(report.finish().checks[0].status, status, "{there}");
        }
    }

    #[test]
    fn what_refused_is_told_by_its_stage() {
        for (code, stage, message) in [
            (
                "ssh.unreachable",
                "connection",
                "h cannot be reached: refused; check the network",
            ),
            (
                "ssh.tls",
                "TLS",
                "the certificate is not accepted; set `ca-file`",
            ),
            (
                "ssh.host-key",
                "host key",
                "h shows X but Y is expected; somebody; and only",
            ),
            (
                "ssh.platform",
                "connection",
                "SSH key of VM x: status 503: no text; the platform has a fault",
            ),
            (
                "ssh.auth",
                "login",
                "h does not accept the key; check `user`",
            ),
        ] {
            let mut report = Report::new(|_: &Check| {});
            refused(
                &EffectError::new(ErrorKind::Failed, code, message),
                &mut report,
            );
            let found = report.finish();
            assert_eq!(found.failure, Some(OpsErrorKind::Unreachable));
            let is_host = |check: &&Check| check.status != Status::Skipped;
            let last = found.checks.iter().rfind(is_host).unwrap();
            assert_eq!((last.name.as_str(), last.status), (stage, Status::Failed));
            assert!(
                last.fix.as_deref().is_some_and(|fix| fix.len() > 10),
                "{last:?}"
            );
        }
    }
}
