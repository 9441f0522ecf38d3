//! The table *(app variant or fault, plan) → (outcome, exit code, what is live,
//! message)*. Rows that wait long stand first.

use crate::platform::row::{
    BACK, BACK_TO_SNAPSHOT, DEPLOYED, End, LOUD, OLD, Plan, REFUSED, Row, TargetFault, UNCHANGED,
    UNREACHED,
};
use std::time::Duration;
use vdeploy_tests::platform::fault::{ApiFault, Call, How, VmFault};

/// Long enough to be seen, short enough to wait for.
const SLOW: How = How::Slow(Duration::from_secs(4));

const fn once(call: Call, how: How) -> ApiFault {
    ApiFault::once(call, how)
}

const fn always(call: Call, how: How) -> ApiFault {
    ApiFault::always(call, how)
}

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // A rollback to the snapshot that the platform does not let through.
    Row { name: "new-vm-stuck-booting", vms: &[VmFault::StuckBooting], says: &["booting", "delete VM"], live: OLD, ..LOUD },
    Row { name: "new-vm-unreachable", vms: &[VmFault::Unreachable], says: &["the target is still VM", "delete VM"], live: OLD, ..LOUD },
    Row { name: "restore-500", api: &[once(Call::Restore, How::Status(500))], new_vms: 0, says: &["restore commit", "500"], ..LOUD },
    Row { name: "restore-503", api: &[always(Call::Restore, How::Status(503))], new_vms: 0, says: &["503"], ..LOUD },
    Row { name: "restore-dropped-before", api: &[once(Call::Restore, How::DroppedBefore)], new_vms: 0, says: &["nobody knows whether it happened"], ..LOUD },
    // A snapshot that the platform does not let through.
    Row { name: "commit-500", api: &[once(Call::Commit, How::Status(500))], says: &["commit", "500"], ..UNCHANGED },
    Row { name: "commit-503", api: &[always(Call::Commit, How::Status(503))], says: &["503"], ..UNCHANGED },
    Row { name: "commit-dropped-before", api: &[once(Call::Commit, How::DroppedBefore)], says: &["nobody knows whether it happened"], ..UNCHANGED },

    // Every variant alone.
    Row { name: "good", ..DEPLOYED },
    Row { name: "slow-start", app: "slow-start", live: "2.0.0-slow-start", ..DEPLOYED },
    Row { name: "new-dependency", app: "new-dependency", live: "2.0.0-new-dependency", ..DEPLOYED },
    Row { name: "install-fails", app: "install-fails", says: &["step `npm-build`", "npm ci"], ..BACK },
    Row { name: "lock-out-of-sync", app: "lock-out-of-sync", says: &["step `npm-build`", "npm ci"], ..BACK },
    Row { name: "build-breaks", app: "build-breaks", says: &["step `npm-build`", "error TS"], ..BACK },
    Row { name: "crashes-at-start", app: "crashes-at-start", says: &["step `restart`", "crash"], ..BACK },
    Row { name: "crashes-later", app: "crashes-later", args: &["--set", "smoke.stable-seconds=5"], says: &["step `smoke`"], ..BACK },
    Row { name: "open-warning", app: "open-warning", says: &["step `restart`", "VERS_AUTH_TOKEN"], ..BACK },
    Row { name: "open-server", app: "open-server", says: &["step `smoke`", "401", "200"], ..BACK },
    Row { name: "wrong-json", app: "wrong-json", says: &["step `smoke`", "/board/tasks"], ..BACK },
    Row { name: "not-json", app: "not-json", says: &["step `smoke`", "JSON"], ..BACK },
    Row { name: "error-500", app: "error-500", says: &["step `smoke`", "/feed/events", "500"], ..BACK },
    Row { name: "loses-data", app: "loses-data", says: &["step `smoke`", "board"], ..BACK },
    Row { name: "ipv4-only", app: "ipv4-only", says: &["step `smoke`", "outside"], ..BACK },

    // Every fault of the API alone, on a deploy.
    Row { name: "commit-429", api: &[once(Call::Commit, How::TooMany(1))], ..DEPLOYED },
    Row { name: "commit-slow", api: &[once(Call::Commit, SLOW)], ..DEPLOYED },
    Row { name: "commit-dropped-after", api: &[once(Call::Commit, How::DroppedAfter)], ..DEPLOYED },
    Row { name: "commit-made-but-504", api: &[once(Call::Commit, How::StatusAfter(504))], ..DEPLOYED },
    Row { name: "commit-leaves-the-vm-paused", vms: &[VmFault::PausedAfterCommit], ..DEPLOYED },
    Row { name: "second-commit-500", api: &[always(Call::Commit, How::Status(500)).after(1)], commits: 1, ..DEPLOYED },
    Row { name: "status-503-once", api: &[once(Call::Status, How::Status(503))], ..DEPLOYED },
    Row { name: "key-503-once", api: &[once(Call::SshKey, How::Status(503))], ..DEPLOYED },
    Row { name: "key-dropped-once", api: &[once(Call::SshKey, How::DroppedBefore)], ..DEPLOYED },
    Row { name: "key-429-once", api: &[once(Call::SshKey, How::TooMany(1))], ..DEPLOYED },
    Row { name: "api-503", api: &[always(Call::Any, How::Status(503))], says: &["status 503: ", "the platform has a fault and nothing of yours is wrong"], ..UNREACHED },
    Row { name: "api-500", api: &[always(Call::Any, How::Status(500))], says: &["500"], ..UNREACHED },

    // Every fault of the API alone, on a rollback to the snapshot.
    Row { name: "none", says: &["step `npm-build`"], ..BACK_TO_SNAPSHOT },
    Row { name: "evidence-500", api: &[always(Call::Commit, How::Status(500)).after(1)], commits: 1, ..BACK_TO_SNAPSHOT },
    Row { name: "restore-429", api: &[once(Call::Restore, How::TooMany(1))], ..BACK_TO_SNAPSHOT },
    Row { name: "restore-slow", api: &[once(Call::Restore, SLOW)], ..BACK_TO_SNAPSHOT },
    Row { name: "restore-dropped-after", api: &[once(Call::Restore, How::DroppedAfter)], ..BACK_TO_SNAPSHOT },
    Row { name: "restore-made-but-502", api: &[once(Call::Restore, How::StatusAfter(502))], ..BACK_TO_SNAPSHOT },
    Row { name: "list-503-once", api: &[once(Call::ListVms, How::Status(503))], ..BACK_TO_SNAPSHOT },
    Row { name: "list-500", api: &[always(Call::ListVms, How::Status(500))], new_vms: 0, says: &["nothing was restored"], ..LOUD },
    Row { name: "pause-of-the-old-vm-500", api: &[always(Call::SetState, How::Status(500))], ..BACK_TO_SNAPSHOT },

    // Every fault of the target alone.
    Row { name: "auth-refused", target: &[TargetFault::AuthRefused], says: &["key"], ..UNREACHED },
    Row { name: "sshd-gone", target: &[TargetFault::SshdGone], ..UNREACHED },
    Row { name: "front-closes", target: &[TargetFault::FrontCloses], live: "", says: &["the connection was closed at the other end; check", "the platform says that VM"], ..UNREACHED },
    Row { name: "disk-small", target: &[TargetFault::SmallDisk(100)], says: &["MiB"], ..REFUSED },
    Row { name: "disk-full-in-the-build", app: "new-dependency", target: &[TargetFault::SmallDisk(8)], args: &["--set", "preflight.min-free-mb=0"], says: &["step `npm-build`", "ENOSPC"], ..BACK },
    Row { name: "registry-down", app: "new-dependency", target: &[TargetFault::RegistryDown], says: &["step `npm-build`", "ECONNREFUSED"], ..BACK },
    Row { name: "registry-down-same-lock", target: &[TargetFault::RegistryDown], ..DEPLOYED },
    Row { name: "remote-down", target: &[TargetFault::RemoteDown], says: &["origin"], ..REFUSED },
    Row { name: "port-taken", target: &[TargetFault::PortTaken], live: "", says: &["3000"], ..REFUSED },
    Row { name: "service-gone", target: &[TargetFault::ServiceGone], ..DEPLOYED },

    // Rollbacks of a good deploy.
    Row { name: "git", plan: Plan::RollbackGit, code: 0, live: OLD, end: End::OldGood, says: &["rolled back and verified"], commits: 3, ..DEPLOYED },
    Row { name: "snapshot", plan: Plan::RollbackSnapshot, code: 0, live: OLD, end: End::OldGood, says: &["rolled back and verified"], commits: 3, new_vms: 1, ..DEPLOYED },

    Row { name: "commit-503", plan: Plan::RollbackGit, api: &[always(Call::Commit, How::Status(503))], live: "2.0.0", end: End::Untouched, commits: 2, says: &["503"], ..UNCHANGED },
    Row { name: "api-503", plan: Plan::RollbackGit, api: &[always(Call::Any, How::Status(503))], live: "2.0.0", end: End::Untouched, commits: 2, says: &["503"], ..UNREACHED },
    Row { name: "restore-500", app: "good-v2", plan: Plan::RollbackSnapshot, api: &[always(Call::Restore, How::Status(500))], live: "2.0.0", end: End::Loud, commits: 3, new_vms: 0, says: &["500"], ..LOUD },

    // Pairs.
    Row { name: "crash-while-api-down-after-the-snapshot", app: "crashes-at-start", api: &[always(Call::Status, How::Status(503)).after(1), always(Call::Commit, How::Status(503)).after(1), always(Call::Restore, How::Status(503)), always(Call::ListVms, How::Status(503))], says: &["step `restart`"], ..BACK },
    Row { name: "crash-with-dropped-commit-and-dropped-restore", app: "crashes-at-start", plan: Plan::DeployElseSnapshot, api: &[once(Call::Commit, How::DroppedAfter), once(Call::Restore, How::DroppedAfter)], commits: 2, new_vms: 1, says: &["step `restart`"], ..BACK },
    Row { name: "open-server-with-registry-down", app: "open-server", target: &[TargetFault::RegistryDown], says: &["step `smoke`"], ..BACK },
    Row { name: "crash-of-a-dead-service", app: "crashes-at-start", target: &[TargetFault::ServiceGone], says: &["step `restart`"], ..BACK },
    Row { name: "rollback-to-snapshot-dropped-after", plan: Plan::RollbackSnapshot, api: &[once(Call::Commit, How::DroppedAfter), once(Call::Restore, How::DroppedAfter)], code: 0, live: OLD, end: End::OldGood, says: &["rolled back and verified"], commits: 3, new_vms: 1, ..DEPLOYED },
    Row { name: "rollback-by-git-without-registry-and-remote", plan: Plan::RollbackGit, target: &[TargetFault::RegistryDown, TargetFault::RemoteDown], code: 0, live: OLD, end: End::OldGood, says: &["rolled back and verified"], commits: 3, ..DEPLOYED },
];
