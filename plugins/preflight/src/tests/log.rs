//! A log that cannot be opened is reported before anything changes.

use super::*;

const LINK: &str = "log-refused=/root/.vdeploy/logs/app/agent-services.log is a symbolic link\n";

#[test]
fn refuses_a_log_that_leads_elsewhere() {
    let message = refusal(Target::healthy().facts(LINK));
    for part in [
        "the log cannot be opened: /root/.vdeploy/logs/app/agent-services.log is a symbolic link",
        "remove it, or set `log` to another path",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// A unit logs to the journal; a unit that runs nothing here does not count.
#[test]
fn a_unit_needs_no_log() {
    let failed = "unit=agent.service failed/failed enabled\n";
    let message = refusal(Target::healthy().facts(&format!("{LINK}{failed}")));
    assert!(message.contains("cannot be opened"), "{message}");

    let unit = "unit=agent.service active/running enabled\n";
    let target = Target::healthy()
        .facts(&format!("{LINK}{unit}"))
        .listener(&format!("{SERVICE}unit=agent.service\n"));
    testing::run::<Preflight>(&answers(target.host(), "s3cret")).unwrap();
}
