//! The rows of the table for any server: reached by plain TCP with a key file,
//! its snapshot an archive on the server itself, or waived.

use crate::platform::row::{
    BACK, DEPLOYED, End, OLD, Plan, REFUSED, Row, TargetFault, UNREACHED, server, waived,
};

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // Without a snapshot.
    Row { name: "good", ..waived(DEPLOYED) },
    Row { name: "build-breaks", app: "build-breaks", says: &["step `npm-build`", "error TS"], ..waived(BACK) },
    Row { name: "crashes-at-start", app: "crashes-at-start", says: &["step `restart`", "crash"], ..waived(BACK) },
    Row { name: "crashes-later", app: "crashes-later", args: &["--set", "smoke.stable-seconds=5"], says: &["step `smoke`"], ..waived(BACK) },
    Row { name: "open-warning", app: "open-warning", says: &["step `restart`", "VERS_AUTH_TOKEN"], ..waived(BACK) },
    Row { name: "open-server", app: "open-server", says: &["step `smoke`", "401", "200"], ..waived(BACK) },
    Row { name: "error-500", app: "error-500", says: &["step `smoke`", "/feed/events", "500"], ..waived(BACK) },
    Row { name: "loses-data", app: "loses-data", says: &["step `smoke`", "board"], ..waived(BACK) },

    // Faults of the target.
    Row { name: "auth-refused", target: &[TargetFault::AuthRefused], says: &["key"], ..waived(UNREACHED) },
    Row { name: "sshd-gone", target: &[TargetFault::SshdGone], ..waived(UNREACHED) },
    Row { name: "disk-small", target: &[TargetFault::SmallDisk(100)], says: &["MiB"], ..waived(REFUSED) },
    Row { name: "disk-full-in-the-build", app: "new-dependency", target: &[TargetFault::SmallDisk(8)], args: &["--set", "preflight.min-free-mb=0"], says: &["step `npm-build`", "ENOSPC"], ..waived(BACK) },
    Row { name: "registry-down", app: "new-dependency", target: &[TargetFault::RegistryDown], says: &["step `npm-build`", "ECONNREFUSED"], ..waived(BACK) },
    Row { name: "remote-down", target: &[TargetFault::RemoteDown], says: &["origin"], ..waived(REFUSED) },
    Row { name: "port-taken", target: &[TargetFault::PortTaken], live: "", says: &["3000"], ..waived(REFUSED) },
    Row { name: "service-gone", target: &[TargetFault::ServiceGone], ..waived(DEPLOYED) },

    // With an archive on the server.
    Row { name: "good", ..server(DEPLOYED) },
    Row { name: "build-breaks", app: "build-breaks", says: &["step `npm-build`", "error TS"], ..server(BACK) },
    Row { name: "wrong-json", app: "wrong-json", plan: Plan::DeployElseSnapshot, says: &["step `smoke`", "/board/tasks"], ..server(BACK) },
    Row { name: "loses-data", app: "loses-data", plan: Plan::DeployElseSnapshot, says: &["step `smoke`", "board"], ..server(BACK) },
    Row { name: "git", plan: Plan::RollbackGit, live: OLD, end: End::OldGood, says: &["rolled back and verified"], ..server(DEPLOYED) },
    Row { name: "snapshot", plan: Plan::RollbackSnapshot, live: OLD, end: End::OldGood, says: &["rolled back and verified"], ..server(DEPLOYED) },

    // A way back that is not there any more.
    Row { name: "git-after-the-service-and-the-registry-went", plan: Plan::RollbackGit, target: &[TargetFault::ServiceGone, TargetFault::RegistryDown], live: OLD, end: End::OldGood, says: &["rolled back and verified"], ..waived(DEPLOYED) },
];
