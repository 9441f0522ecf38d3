//! What is wrong with the network, and what comes of it. Rows that wait long
//! stand first.

use crate::platform::row::{
    BACK, BACK_TO_SNAPSHOT, Break, DEPLOYED, End, LOUD, Moment, OLD, Plan, Row, UNCHANGED, Wire,
    server,
};
use vdeploy_tests::platform::Pace;
use vdeploy_tests::platform::fault::{ApiFault, Call, How};

const CUT_BEFORE: Wire = Wire::Each(Moment::Before, Break::Cut);
const CUT_OUTPUT: Wire = Wire::Each(Moment::Output, Break::Cut);
const CUT_AFTER: Wire = Wire::Each(Moment::After, Break::Cut);
const DEAD_BEFORE: Wire = Wire::Each(Moment::Before, Break::Silent);
const DEAD_OUTPUT: Wire = Wire::Each(Moment::Output, Break::Silent);
const DEAD_AFTER: Wire = Wire::Each(Moment::After, Break::Silent);

const fn each(call: Call, how: How) -> ApiFault {
    ApiFault::each_once(call, how)
}

const fn once(call: Call, how: How) -> ApiFault {
    ApiFault::once(call, how)
}

/// A rollback of a good deploy to its snapshot.
const ROLLED_BACK: Row = Row {
    plan: Plan::RollbackSnapshot,
    live: OLD,
    end: End::OldGood,
    says: &["rolled back and verified"],
    commits: 3,
    new_vms: 1,
    ..DEPLOYED
};

/// Any server: a bad app that goes live, and goes by the archive.
const BACK_TO_ARCHIVE: Row = Row {
    app: "wrong-json",
    plan: Plan::DeployElseSnapshot,
    says: &["step `smoke`"],
    ..server(BACK)
};

/// The same, which the platform does not let through.
const NOT_ROLLED_BACK: Row = Row {
    app: "good-v2",
    plan: Plan::RollbackSnapshot,
    live: "2.0.0",
    commits: 3,
    new_vms: 0,
    ..LOUD
};

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // Every SSH command of a run loses its connection once, and nobody is told.
    Row { name: "each-command-into-a-dead-connection", wire: DEAD_BEFORE, ..DEPLOYED },
    Row { name: "each-command-into-a-connection-that-dies-as-it-answers", wire: DEAD_OUTPUT, ..BACK_TO_SNAPSHOT },
    Row { name: "each-command-whose-end-is-lost-in-silence-bad-app", app: "wrong-json", wire: DEAD_AFTER, says: &["step `smoke`"], ..BACK },

    Row { name: "each-command-into-a-dead-connection", wire: DEAD_BEFORE, ..server(DEPLOYED) },
    Row { name: "each-command-whose-end-is-lost-in-silence", wire: DEAD_AFTER, ..server(DEPLOYED) },
    Row { name: "each-command-into-a-connection-that-dies-as-it-answers", wire: DEAD_OUTPUT, ..BACK_TO_ARCHIVE },

    // A change of the platform without an answer.
    Row { name: "commit-unanswered", api: &[once(Call::Commit, How::Unanswered)], says: &["nobody knows whether it happened"], ..UNCHANGED },
    Row { name: "restore-unanswered", api: &[once(Call::Restore, How::Unanswered)], new_vms: 0, says: &["nobody knows whether it happened"], ..LOUD },
    Row { name: "second-commit-unanswered", api: &[once(Call::Commit, How::Unanswered).after(1)], commits: 1, ..DEPLOYED },
    Row { name: "second-commit-dropped-before", api: &[once(Call::Commit, How::DroppedBefore).after(1)], commits: 1, ..DEPLOYED },
    Row { name: "second-commit-503", api: &[once(Call::Commit, How::Status(503)).after(1)], commits: 1, ..DEPLOYED },
    Row { name: "commit-dropped-before", api: &[once(Call::Commit, How::DroppedBefore)], plan: Plan::RollbackSnapshot, live: "2.0.0", end: End::Untouched, commits: 2, says: &["nobody knows whether it happened"], ..UNCHANGED },
    Row { name: "restore-dropped-before", api: &[once(Call::Restore, How::DroppedBefore)], says: &["nobody knows whether it happened"], ..NOT_ROLLED_BACK },
    Row { name: "restore-503", api: &[once(Call::Restore, How::Status(503))], says: &["503"], ..NOT_ROLLED_BACK },

    // Slow.
    Row { name: "each-piece-200-to-500-ms-late", wire: Wire::Pace(Pace::Slow), ..DEPLOYED },
    Row { name: "each-piece-200-to-500-ms-late-bad-app", app: "wrong-json", wire: Wire::Pace(Pace::Slow), says: &["step `smoke`"], ..BACK },
    Row { name: "one-byte-at-a-time", wire: Wire::Pace(Pace::Bytewise), ..DEPLOYED },

    // Every SSH command of a run is cut once.
    Row { name: "each-command-cut-before-it-begins", wire: CUT_BEFORE, ..DEPLOYED },
    Row { name: "each-command-cut-as-it-answers", wire: CUT_OUTPUT, ..DEPLOYED },
    Row { name: "each-command-cut-after-its-end", wire: CUT_AFTER, ..DEPLOYED },
    Row { name: "each-command-cut-before-it-begins-bad-app", app: "wrong-json", wire: CUT_BEFORE, says: &["step `smoke`"], ..BACK },
    Row { name: "each-command-cut-after-its-end-bad-app", app: "wrong-json", wire: CUT_AFTER, says: &["step `smoke`"], ..BACK },
    Row { name: "each-command-cut-as-it-answers", wire: CUT_OUTPUT, ..BACK_TO_SNAPSHOT },
    Row { name: "each-command-cut-after-its-end", wire: CUT_AFTER, ..ROLLED_BACK },

    // The same on any server.
    Row { name: "each-command-cut-before-it-begins", wire: CUT_BEFORE, ..BACK_TO_ARCHIVE },
    Row { name: "each-command-cut-as-it-answers", wire: CUT_OUTPUT, ..BACK_TO_ARCHIVE },
    Row { name: "each-command-cut-after-its-end", wire: CUT_AFTER, ..BACK_TO_ARCHIVE },
    Row { name: "each-command-cut-before-it-begins", wire: CUT_BEFORE, ..server(DEPLOYED) },
    Row { name: "each-command-cut-as-it-answers", wire: CUT_OUTPUT, ..server(DEPLOYED) },
    Row { name: "each-command-cut-after-its-end", wire: CUT_AFTER, ..server(DEPLOYED) },
    Row { name: "each-command-cut-after-its-end", wire: CUT_AFTER, ..server(ROLLED_BACK) },
    Row { name: "one-byte-at-a-time", wire: Wire::Pace(Pace::Bytewise), ..server(DEPLOYED) },

    // Every call of the API fails once.
    Row { name: "each-look-500", api: &[each(Call::Look, How::Status(500))], ..BACK_TO_SNAPSHOT },
    Row { name: "each-look-503", api: &[each(Call::Look, How::Status(503))], ..BACK_TO_SNAPSHOT },
    Row { name: "each-look-dropped", api: &[each(Call::Look, How::DroppedBefore)], ..BACK_TO_SNAPSHOT },
    Row { name: "each-look-unanswered", api: &[each(Call::Look, How::Unanswered)], ..BACK_TO_SNAPSHOT },
    Row { name: "each-call-429", api: &[each(Call::Any, How::TooMany(1))], ..BACK_TO_SNAPSHOT },
    Row { name: "each-call-dropped-after", api: &[each(Call::Any, How::DroppedAfter)], ..BACK_TO_SNAPSHOT },
    Row { name: "each-call-made-but-502", api: &[each(Call::Any, How::StatusAfter(502))], ..BACK_TO_SNAPSHOT },
    Row { name: "each-look-500", api: &[each(Call::Look, How::Status(500))], ..ROLLED_BACK },
    Row { name: "each-call-429", api: &[each(Call::Any, How::TooMany(1))], ..ROLLED_BACK },
    Row { name: "each-call-dropped-after", api: &[each(Call::Any, How::DroppedAfter)], ..ROLLED_BACK },
    Row { name: "each-look-503", api: &[each(Call::Look, How::Status(503))], ..DEPLOYED },
    Row { name: "each-call-dropped-after", api: &[each(Call::Any, How::DroppedAfter)], ..DEPLOYED },

    // A change of the platform that is answered too late or not at all.
    Row { name: "commit-unanswered-after", api: &[once(Call::Commit, How::UnansweredAfter)], ..DEPLOYED },
    Row { name: "restore-unanswered-after", api: &[once(Call::Restore, How::UnansweredAfter)], ..BACK_TO_SNAPSHOT },
    Row { name: "pause-of-the-old-vm-unanswered", api: &[once(Call::SetState, How::Unanswered)], ..BACK_TO_SNAPSHOT },
    Row { name: "pause-of-the-old-vm-503", api: &[once(Call::SetState, How::Status(503))], ..BACK_TO_SNAPSHOT },
    Row { name: "commit-500", api: &[once(Call::Commit, How::Status(500))], plan: Plan::RollbackSnapshot, live: "2.0.0", end: End::Untouched, commits: 2, says: &["500"], ..UNCHANGED },
];
