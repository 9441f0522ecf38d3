//! Preflight and the process on the port, its unit, and units of the checkout.

use super::*;

#[test]
fn refuses_a_foreign_process_and_names_it() {
    let message = refusal(Target::healthy().listener(FOREIGN));
    for part in [
        "pid 44 (python3 -m http.server)",
        "program /usr/bin/python3",
        "directory /srv",
        "user www (33)",
        "since 2026-02-13 09:41:07 UTC",
        "--set preflight.foreign-process=end",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let kept = format!("{FOREIGN}unit=web.service\n");
    assert!(refusal(Target::healthy().listener(&kept)).contains("systemd unit web.service"));
}

#[test]
fn a_foreign_process_is_accepted_when_the_configuration_allows_it() {
    let end = |listener: &str| {
        let host = Target::healthy().listener(listener).host();
        host.config(json!({"foreign-process": "end"}))
    };
    let baseline = testing::run::<Preflight>(&answers(end(FOREIGN), "another")).unwrap();
    assert_eq!(baseline.service, None);
    assert_eq!(baseline.foreign.map(|foreign| foreign.pid), Some(44));
    assert!(
        baseline.warnings[0].contains("the step `restart` terminates it")
            && baseline.warnings[0].contains("pid 44"),
        "{:?}",
        baseline.warnings
    );
    // The service in another directory: its data is counted too.
    let elsewhere = SERVICE.replace("/root/app", "/root/other");
    let baseline = testing::run::<Preflight>(&answers(end(&elsewhere), "s3cret")).unwrap();
    assert_eq!(baseline.foreign.map(|foreign| foreign.pid), Some(7));
    assert_eq!(baseline.counts.0.get("board"), Some(&3));
    // Never pid 1, and never a process that cannot be inspected.
    for never in ["pid=1\nstart=1\ncwd=/\nexe=/sbin/init\n", "hidden=33\n"] {
        testing::run::<Preflight>(&answers(end(never), "s3cret")).unwrap_err();
    }
}

#[test]
fn refuses_a_socket_unit_and_the_unit_of_a_user() {
    let socket = "pid=1\nstart=1\ncwd=/\nexe=/usr/lib/systemd/systemd\narg=/sbin/init\n";
    assert!(refusal(Target::healthy().listener(socket)).contains("socket unit"));
    let users = format!("{SERVICE}user-unit=agent.service\n");
    let message = refusal(Target::healthy().listener(&users));
    assert!(
        message.contains("systemctl --user disable --now agent.service"),
        "{message}"
    );
}

#[test]
fn a_unit_of_the_checkout_runs_the_service_when_nobody_listens() {
    let one = "unit=agent.service failed/failed enabled\n";
    let host = Target::healthy().listener("").facts(one).host();
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert_eq!(baseline.unit.as_deref(), Some("agent.service"));
    let two = format!("{one}unit=old.service inactive/dead enabled\n");
    let message = refusal(Target::healthy().listener("").facts(&two));
    assert!(
        message.contains("agent.service (failed/failed, enabled)")
            && message.contains("old.service"),
        "{message}"
    );
}

#[test]
fn two_starters_of_one_service_are_told_of() {
    let bare = |unit: &str| Target::healthy().facts(unit);
    let host = answers(
        bare("unit=agent.service failed/failed enabled\n").host(),
        "s3cret",
    );
    let baseline = testing::run::<Preflight>(&host).unwrap();
    assert!(
        baseline.warnings[0].contains("without a unit, pid 7")
            && baseline.warnings[0].contains("starts at the next boot"),
        "{:?}",
        baseline.warnings
    );
    assert_eq!(baseline.unit, None);
    let message = refusal(bare("unit=agent.service activating/auto-restart enabled\n"));
    assert!(message.contains("restarts in a loop"), "{message}");
    // The unit that runs the process is the only one.
    let kept = format!("{SERVICE}unit=agent.service\n");
    let host = bare("unit=agent.service active/running enabled\n").listener(&kept);
    let baseline = testing::run::<Preflight>(&answers(host.host(), "s3cret")).unwrap();
    assert_eq!(baseline.warnings, [""; 0]);
}

#[test]
fn refuses_the_service_in_another_directory_with_both_paths() {
    let message = refusal(Target::healthy().listener(&SERVICE.replace("/root/app", "/root/other")));
    assert!(
        message.contains("/root/other") && message.contains("/root/app"),
        "{message}"
    );
    assert!(message.contains("its data is there"), "{message}");
}

#[test]
fn refuses_a_process_that_it_cannot_inspect() {
    assert!(refusal(Target::healthy().listener("hidden=33\n")).contains("user id 33"));
    let unseen = "pid=44\nstart=1\nuid=33\ncwd=\nexe=\narg=node\n";
    assert!(refusal(Target::healthy().listener(unseen)).contains("cannot see"));
}
