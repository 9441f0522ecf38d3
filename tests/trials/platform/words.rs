//! A row of the table in words.

use crate::platform::row::{Break, Moment, Plan, Row, Snapshot, TargetFault, Wire};
use std::time::Duration;
use vdeploy_tests::platform::fault::{ApiFault, Call, How, VmFault};
use vdeploy_tests::platform::{Kind, Pace};

/// What the app does, by the name of its variant.
#[rustfmt::skip]
const APPS: [(&str, &str); 15] = [
    ("good-v2", ""),
    ("slow-start", "the app opens its port after 4 s"),
    ("new-dependency", "the app needs one more package"),
    ("install-fails", "a dependency cannot be had"),
    ("lock-out-of-sync", "the lock file does not fit `package.json`"),
    ("build-breaks", "a type error; `tsc` writes its files all the same"),
    ("crashes-at-start", "the app crashes when it starts"),
    ("crashes-later", "the app crashes 3 s after it has started"),
    ("open-warning", "the app lets everybody in, and warns of it in its log"),
    ("open-server", "the app lets everybody in without a word"),
    ("wrong-json", "an endpoint answers JSON of another shape"),
    ("not-json", "an endpoint answers something that is no JSON"),
    ("error-500", "an endpoint answers 500"),
    ("loses-data", "the app looks for its data elsewhere: all is empty"),
    ("ipv4-only", "the app listens on IPv4 only"),
];

/// What is wrong, for a person.
pub fn wrong(row: &Row) -> Result<String, String> {
    let app = APPS.iter().find(|(name, _)| *name == row.app);
    let (_, app) = app.ok_or_else(|| format!("{} has no words", row.app))?;
    let mut all = vec![(*app).to_owned()];
    all.extend(row.target.iter().map(at_target));
    all.extend(row.api.iter().map(at_api));
    all.extend(row.vms.iter().map(|fault| vm(*fault).to_owned()));
    all.push(on_wire(row.wire));
    all.retain(|one| !one.is_empty());
    Ok(match all.is_empty() {
        true => "nothing".to_owned(),
        false => all.join("; "),
    })
}

/// What is run.
pub fn run(row: &Row) -> String {
    let deploy = match row.snapshot {
        Snapshot::Default => "run --plan default",
        Snapshot::Archive => "run --plan default-ssh",
        Snapshot::Waived => "run --plan default --without-snapshot …",
    };
    let more = match row.plan {
        Plan::Deploy => deploy,
        Plan::DeployElseSnapshot => &format!("{deploy} --rollback-to snapshot"),
        Plan::RollbackGit => "rollback --to in-place",
        Plan::RollbackSnapshot => "rollback --to snapshot",
    };
    format!("`{more}`")
}

/// The kind of target, as a heading.
pub fn target(row: &Row) -> &'static str {
    match (row.kind, row.snapshot) {
        (Kind::Vers, _) => "A VM of the platform",
        (Kind::Ssh, Snapshot::Archive) => {
            "Any server, with an archive as the snapshot (`default-ssh`)"
        }
        (Kind::Ssh, _) => "Any server, with `--without-snapshot`",
    }
}

fn at_target(fault: &TargetFault) -> String {
    match fault {
        TargetFault::AuthRefused => "sshd accepts no key".to_owned(),
        TargetFault::SshdGone => "sshd has ended".to_owned(),
        TargetFault::FrontCloses => {
            "the platform's front closes every connection to the VM".to_owned()
        }
        TargetFault::SmallDisk(mib) => format!("the disk has {mib} MiB left"),
        TargetFault::RegistryDown => "the npm registry is down".to_owned(),
        TargetFault::RemoteDown => "the git remote is down".to_owned(),
        TargetFault::PortTaken => {
            "the service has ended, and somebody else's program has its port".to_owned()
        }
        TargetFault::ServiceGone => "the service has ended".to_owned(),
    }
}

fn on_wire(wire: Wire) -> String {
    let (moment, how) = match wire {
        Wire::Good | Wire::Pace(Pace::Good) => return String::new(),
        Wire::Pace(Pace::Slow) => {
            return "SSH: each piece comes 200 to 500 ms late".to_owned();
        }
        Wire::Pace(Pace::Bytewise) => return "SSH: one byte comes at a time".to_owned(),
        Wire::Each(moment, how) => (moment, how),
    };
    let moment = match moment {
        Moment::Before => "before it begins",
        Moment::Output => "as it answers",
        Moment::After => "when it has ended and nobody was told",
    };
    let how = match how {
        Break::Cut => "is cut",
        Break::Silent => "dies, and neither end is told",
    };
    format!("the SSH connection {how} at every command once, {moment}")
}

fn vm(fault: VmFault) -> &'static str {
    match fault {
        VmFault::StuckBooting => "the new VM never gets beyond `booting`",
        VmFault::Unreachable => "the new VM runs, but nothing reaches it",
        VmFault::PausedAfterCommit => "the platform leaves a VM paused after a commit",
    }
}

fn at_api(fault: &ApiFault) -> String {
    let call = match fault.call {
        Call::ListVms => "the list of VMs",
        Call::Status => "the VM's status",
        Call::Metadata => "the VM's metadata",
        Call::SshKey => "the VM's SSH key",
        Call::Commit => "commit",
        Call::Restore => "restore",
        Call::ListCommits => "the list of commits",
        Call::Parents => "the commit's parents",
        Call::SetState => "pausing the VM",
        Call::Delete => "deleting the VM",
        Call::Any => "every call of the API",
        Call::Look => "every call of the API that only looks",
        Call::Other => "another call of the API",
    };
    let when = match (fault.after, fault.times) {
        _ if fault.each_once => ", each once".to_owned(),
        (0, Some(1)) => " once".to_owned(),
        (0, Some(times)) => format!(" {times} times"),
        (0, None) => String::new(),
        (after, Some(1)) => format!(" once, after {after} that went well"),
        (after, Some(times)) => format!(" {times} times, after {after} that went well"),
        (after, None) => format!(", after {after} that went well"),
    };
    format!("{call}{when}: {}", how(fault.how))
}

fn how(how: How) -> String {
    match how {
        How::Status(status) => status.to_string(),
        How::TooMany(seconds) => format!("429 with `Retry-After: {seconds}`"),
        How::Slow(late) if late < Duration::from_secs(60) => {
            format!("answered {} s late", late.as_secs())
        }
        How::Slow(_) => "answered later than anybody waits".to_owned(),
        How::DroppedBefore => "the connection drops, nothing was done".to_owned(),
        How::DroppedAfter => "it is done, and the connection drops before the answer".to_owned(),
        How::StatusAfter(status) => format!("it is done, and answered with {status}"),
        How::Unanswered => "no answer comes, and nothing was done".to_owned(),
        How::UnansweredAfter => "it is done, and no answer comes".to_owned(),
        How::Held => "it is done, and answered when the tests say so".to_owned(),
        How::HeldThenDropped => {
            "it is done, and the connection drops when the tests say so".to_owned()
        }
    }
}
