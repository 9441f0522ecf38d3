//! A row of the table: what is wrong, what is run, and what must come of it.

use vdeploy_tests::platform::fault::{ApiFault, VmFault};
use vdeploy_tests::platform::{Kind, Pace};

/// The version of the good service, which is live before each row.
pub const OLD: &str = "1.0.0";

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Plan {
    /// `vdeploy run --plan default` of the app.
    Deploy,
    /// The same, and a failure goes back to the snapshot.
    DeployElseSnapshot,
    /// The app is deployed while all is well; then `vdeploy rollback RUN`.
    RollbackGit,
    /// The same with `--to snapshot`.
    RollbackSnapshot,
}

/// What takes the snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Snapshot {
    /// The plan `default`: the platform, where there is one.
    Default,
    /// The plan `default-ssh`: an archive on the target.
    Archive,
    /// Nothing: `--without-snapshot`.
    Waived,
}

/// What is wrong at the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetFault {
    /// sshd accepts no key.
    AuthRefused,
    /// sshd has ended: its port is closed.
    SshdGone,
    /// The platform's front closes every connection to the VM.
    FrontCloses,
    /// `/root` has so many MiB left.
    SmallDisk(u64),
    /// The registry's port is closed.
    RegistryDown,
    /// The git server's port is closed.
    RemoteDown,
    /// The service has ended, and a program of somebody else has its port.
    PortTaken,
    /// The service has ended.
    ServiceGone,
}

/// When a command meets what is wrong with the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// It is on the target and has not begun.
    Before,
    /// Something comes back: it was taken, it prints, it has ended.
    Output,
    /// It has ended, and nobody was told.
    After,
}

/// What a connection meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// It is cut: both ends are told.
    Cut,
    /// It is dead, and nobody is told.
    Silent,
}

/// What is wrong with the connection to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Nothing.
    Good,
    /// Every command meets this once; the one that is asked for in its place
    /// goes well.
    Each(Moment, Break),
    /// All of it is slow.
    Pace(Pace),
}

/// How a row ends. There is no other way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The old version is live: never left, or back and verified.
    OldGood,
    /// The new version is live and verified.
    NewVerified,
    /// A rollback that changed nothing: what was live before is live.
    Untouched,
    /// It says loudly that it could not, and what to do.
    Loud,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Part of the trial's name.
    pub name: &'static str,
    /// How the target is reached.
    pub kind: Kind,
    /// What takes the snapshot.
    pub snapshot: Snapshot,
    /// The variant that is pushed.
    pub app: &'static str,
    /// What is run.
    pub plan: Plan,
    /// More arguments.
    pub args: &'static [&'static str],
    /// What is wrong at the API.
    pub api: &'static [ApiFault],
    /// What is wrong with new VMs.
    pub vms: &'static [VmFault],
    /// What is wrong at the target.
    pub target: &'static [TargetFault],
    /// What is wrong with the connection to it.
    pub wire: Wire,
    /// The exit code.
    pub code: i32,
    /// The outcome's word.
    pub outcome: &'static str,
    /// What answers from outside afterwards; empty for nothing.
    pub live: &'static str,
    /// How it ends.
    pub end: End,
    /// Words of the message.
    pub says: &'static [&'static str],
    /// So many commits were made.
    pub commits: usize,
    /// So many VMs were made.
    pub new_vms: usize,
}

impl Row {
    /// The trial's name.
    pub fn title(&self) -> String {
        format!("{}::{}", self.kin(), self.name)
    }

    /// The kind of target and what is run.
    pub fn kin(&self) -> String {
        let kind = match (self.kind, self.snapshot) {
            (Kind::Vers, _) => "vers",
            (Kind::Ssh, Snapshot::Waived) => "ssh-without-snapshot",
            (Kind::Ssh, _) => "ssh",
        };
        let plan = match self.plan {
            Plan::Deploy => "deploy",
            Plan::DeployElseSnapshot => "deploy-else-snapshot",
            Plan::RollbackGit => "rollback-git",
            Plan::RollbackSnapshot => "rollback-snapshot",
        };
        format!("{kind}::{plan}")
    }
}

/// A deploy that works.
pub const DEPLOYED: Row = Row {
    name: "",
    kind: Kind::Vers,
    snapshot: Snapshot::Default,
    app: "good-v2",
    plan: Plan::Deploy,
    args: &[],
    api: &[],
    vms: &[],
    target: &[],
    wire: Wire::Good,
    code: 0,
    outcome: "deployed",
    live: "2.0.0",
    end: End::NewVerified,
    says: &["deployed and verified"],
    // One before, one after.
    commits: 2,
    new_vms: 0,
};

/// A deploy that fails and goes back by git.
pub const BACK: Row = Row {
    code: 11,
    outcome: "rolled-back",
    live: OLD,
    end: End::OldGood,
    says: &[],
    commits: 1,
    ..DEPLOYED
};

/// A deploy whose build fails and that goes back by the snapshot.
pub const BACK_TO_SNAPSHOT: Row = Row {
    app: "install-fails",
    plan: Plan::DeployElseSnapshot,
    // The second is of the broken state.
    commits: 2,
    new_vms: 1,
    ..BACK
};

/// A deploy that changes nothing.
pub const UNCHANGED: Row = Row {
    code: 10,
    outcome: "failed-unchanged",
    commits: 0,
    ..BACK
};

/// A deploy that is refused by a look at the target.
pub const REFUSED: Row = Row {
    code: 3,
    outcome: "refused",
    ..UNCHANGED
};

/// A target that is not reached.
pub const UNREACHED: Row = Row {
    code: 22,
    outcome: "unreachable",
    ..UNCHANGED
};

/// A rollback that does not come to its end.
pub const LOUD: Row = Row {
    code: 12,
    outcome: "rollback-failed",
    end: End::Loud,
    ..BACK_TO_SNAPSHOT
};

/// The same on any server, with an archive there as the snapshot.
pub const fn server(row: Row) -> Row {
    Row {
        kind: Kind::Ssh,
        snapshot: Snapshot::Archive,
        commits: 0,
        new_vms: 0,
        ..row
    }
}

/// The same on any server, without a snapshot.
pub const fn waived(row: Row) -> Row {
    Row {
        snapshot: Snapshot::Waived,
        ..server(row)
    }
}
