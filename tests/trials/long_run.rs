//! Trials that are not in the short run: `cargo xtask test --all` runs them, and
//! so does the CI of a release. Each group proves more of the same; the trial
//! that keeps its place in the short run fails for the same reason.

use anyhow::{Context as _, Result, ensure};

struct Group {
    /// What is left out.
    trials: &'static [&'static str],
    /// What stays.
    kept: &'static str,
}

const GROUPS: &[Group] = &[
    // A second kill everywhere; in the short run it comes at every 17th place.
    Group {
        trials: &["matrix::a_good_app::killed_twice_everywhere"],
        kept: "matrix::a_good_app",
    },
    Group {
        trials: &["matrix::a_bad_app_back_by_git::killed_twice_everywhere"],
        kept: "matrix::a_bad_app_back_by_git",
    },
    Group {
        trials: &["matrix::a_bad_app_back_by_snapshot::killed_twice_everywhere"],
        kept: "matrix::a_bad_app_back_by_snapshot",
    },
    Group {
        trials: &["soak::every_fault_twice_leaves_nothing_behind"],
        kept: "soak::eight_deploys_with_faults_leave_nothing_behind",
    },
    // Real kills: what is killed everywhere in the matrix is killed here too.
    Group {
        trials: &[
            "crashes::a_good_app::2_of_10",
            "crashes::a_good_app::3_of_10",
            "crashes::a_good_app::5_of_10",
            "crashes::a_good_app::6_of_10",
            "crashes::a_good_app::8_of_10",
            "crashes::a_good_app::9_of_10",
        ],
        kept: "crashes::a_good_app::4_of_10",
    },
    Group {
        trials: &[
            "crashes::a_bad_app_back_by_git::2_of_9",
            "crashes::a_bad_app_back_by_git::3_of_9",
            "crashes::a_bad_app_back_by_git::5_of_9",
            "crashes::a_bad_app_back_by_git::6_of_9",
            "crashes::a_bad_app_back_by_git::8_of_9",
            "crashes::a_bad_app_back_by_git::9_of_9",
        ],
        kept: "crashes::a_bad_app_back_by_git::4_of_9",
    },
    Group {
        trials: &[
            "crashes::a_bad_app_back_by_snapshot::2_of_7",
            "crashes::a_bad_app_back_by_snapshot::3_of_7",
            "crashes::a_bad_app_back_by_snapshot::5_of_7",
            "crashes::a_bad_app_back_by_snapshot::6_of_7",
        ],
        kept: "crashes::a_bad_app_back_by_snapshot::4_of_7",
    },
    // The network, on every path through the plan and every kind of target.
    Group {
        trials: &[
            "vers::deploy::each-command-cut-before-it-begins-bad-app",
            "ssh::deploy::each-command-cut-before-it-begins",
            "ssh::deploy-else-snapshot::each-command-cut-before-it-begins",
        ],
        kept: "vers::deploy::each-command-cut-before-it-begins",
    },
    Group {
        trials: &[
            "vers::deploy-else-snapshot::each-command-cut-as-it-answers",
            "ssh::deploy::each-command-cut-as-it-answers",
        ],
        kept: "vers::deploy::each-command-cut-as-it-answers",
    },
    Group {
        trials: &[
            "vers::deploy::each-command-cut-after-its-end-bad-app",
            "vers::rollback-snapshot::each-command-cut-after-its-end",
            "ssh::deploy::each-command-cut-after-its-end",
            "ssh::rollback-snapshot::each-command-cut-after-its-end",
        ],
        kept: "vers::deploy::each-command-cut-after-its-end",
    },
    Group {
        trials: &["ssh::deploy-else-snapshot::each-command-cut-after-its-end"],
        kept: "ssh::deploy-else-snapshot::each-command-cut-as-it-answers",
    },
    Group {
        trials: &["ssh::deploy::each-command-into-a-dead-connection"],
        kept: "vers::deploy::each-command-into-a-dead-connection",
    },
    Group {
        trials: &[
            "ssh::deploy-else-snapshot::each-command-into-a-connection-that-dies-as-it-answers",
        ],
        kept: "vers::deploy-else-snapshot::each-command-into-a-connection-that-dies-as-it-answers",
    },
    Group {
        trials: &["ssh::deploy::each-command-whose-end-is-lost-in-silence"],
        kept: "vers::deploy::each-command-whose-end-is-lost-in-silence-bad-app",
    },
    Group {
        trials: &["vers::deploy::each-piece-200-to-500-ms-late-bad-app"],
        kept: "vers::deploy::each-piece-200-to-500-ms-late",
    },
    Group {
        trials: &["ssh::deploy::one-byte-at-a-time"],
        kept: "vers::deploy::one-byte-at-a-time",
    },
    // The API of the platform, in every way on every path.
    Group {
        trials: &[
            "vers::deploy-else-snapshot::each-look-503",
            "vers::deploy-else-snapshot::each-look-dropped",
            "vers::deploy::each-look-503",
            "vers::rollback-snapshot::each-look-500",
        ],
        kept: "vers::deploy-else-snapshot::each-look-500",
    },
    Group {
        trials: &["vers::rollback-snapshot::each-call-429"],
        kept: "vers::deploy-else-snapshot::each-call-429",
    },
    Group {
        trials: &[
            "vers::deploy-else-snapshot::each-call-made-but-502",
            "vers::deploy::each-call-dropped-after",
            "vers::rollback-snapshot::each-call-dropped-after",
        ],
        kept: "vers::deploy-else-snapshot::each-call-dropped-after",
    },
    Group {
        trials: &[
            "vers::deploy::second-commit-503",
            "vers::deploy::second-commit-dropped-before",
        ],
        kept: "vers::deploy::second-commit-500",
    },
    Group {
        trials: &["vers::deploy-else-snapshot::pause-of-the-old-vm-503"],
        kept: "vers::deploy-else-snapshot::pause-of-the-old-vm-500",
    },
    Group {
        trials: &[
            "vers::deploy::key-429-once",
            "vers::deploy::key-dropped-once",
            "vers::deploy::status-503-once",
        ],
        kept: "vers::deploy::key-503-once",
    },
    Group {
        trials: &["vers::deploy::commit-503"],
        kept: "vers::deploy::commit-500",
    },
    Group {
        trials: &["vers::deploy::commit-made-but-504"],
        kept: "vers::deploy::commit-dropped-after",
    },
    Group {
        trials: &["vers::deploy::api-500"],
        kept: "vers::deploy::api-503",
    },
    Group {
        trials: &["vers::deploy-else-snapshot::restore-429"],
        kept: "vers::deploy::commit-429",
    },
    Group {
        trials: &["vers::deploy-else-snapshot::restore-503"],
        kept: "vers::deploy-else-snapshot::restore-500",
    },
    Group {
        trials: &["vers::deploy-else-snapshot::restore-slow"],
        kept: "vers::deploy::commit-slow",
    },
    Group {
        trials: &["vers::deploy-else-snapshot::restore-made-but-502"],
        kept: "vers::deploy-else-snapshot::restore-dropped-after",
    },
    Group {
        trials: &["vers::rollback-snapshot::commit-500"],
        kept: "vers::rollback-snapshot::commit-dropped-before",
    },
    Group {
        trials: &["vers::rollback-snapshot::restore-503"],
        kept: "vers::rollback-snapshot::restore-500",
    },
    Group {
        trials: &["vers::rollback-snapshot::rollback-to-snapshot-dropped-after"],
        kept: "vers::deploy-else-snapshot::crash-with-dropped-commit-and-dropped-restore",
    },
    // Pairs of faults that do not meet.
    Group {
        trials: &["vers::deploy::open-server-with-registry-down"],
        kept: "vers::deploy::open-server",
    },
    Group {
        trials: &["vers::deploy::crash-of-a-dead-service"],
        kept: "vers::deploy::crashes-at-start",
    },
    // Apps and faults on any server: they differ from those on a VM of the
    // platform only in a transport that no plugin sees.
    Group {
        trials: &[
            "ssh-without-snapshot::deploy::build-breaks",
            "ssh::deploy::build-breaks",
        ],
        kept: "vers::deploy::build-breaks",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::crashes-later"],
        kept: "vers::deploy::crashes-later",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::open-warning"],
        kept: "vers::deploy::open-warning",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::open-server"],
        kept: "vers::deploy::open-server",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::error-500"],
        kept: "vers::deploy::error-500",
    },
    Group {
        trials: &[
            "ssh-without-snapshot::deploy::loses-data",
            "ssh::deploy-else-snapshot::loses-data",
        ],
        kept: "vers::deploy::loses-data",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::disk-small"],
        kept: "vers::deploy::disk-small",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::registry-down"],
        kept: "vers::deploy::registry-down",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::remote-down"],
        kept: "vers::deploy::remote-down",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::port-taken"],
        kept: "vers::deploy::port-taken",
    },
    Group {
        trials: &["ssh-without-snapshot::deploy::service-gone"],
        kept: "vers::deploy::service-gone",
    },
];

fn left_out() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.trials).copied()
}

/// Whether a trial is only in the long run.
pub fn has(name: &str) -> bool {
    left_out().any(|left_out| left_out == name)
}

/// Every name here is that of a trial, and what stays is in the short run.
pub fn check(names: &[String]) -> Result<()> {
    let exists = |name: &str| {
        let mut names = names.iter();
        names
            .find(|known| *known == name)
            .with_context(|| format!("no trial `{name}`"))
    };
    for name in left_out() {
        exists(name)?;
    }
    for group in GROUPS {
        exists(group.kept)?;
        ensure!(!has(group.kept), "`{}` is left out itself", group.kept);
    }
    Ok(())
}
