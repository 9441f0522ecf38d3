use super::*;
use crate::script;
use vdeploy_core::event::{Outcome, RunEvent};

fn xml(events: &[RunEvent]) -> String {
    render(&script::model(events))
}

/// Without the properties, which every suite has.
fn without_properties(xml: &str) -> String {
    xml.lines()
        .filter(|line| !line.contains("propert"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn failure_with_rollback() {
    let xml = xml(&script::rolled_back());
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="default" tests="8" failures="2" skipped="1" time="65.000">
  <testsuite name="git-pull" tests="2" failures="0" errors="0" skipped="0" time="2.500">
    <testcase classname="default.git-pull" name="run" time="1.250"/>
    <testcase classname="default.git-pull" name="undo" time="1.250"/>
  </testsuite>
  <testsuite name="smoke" tests="3" failures="2" errors="0" skipped="0" time="2.000">
    <testcase classname="default.smoke" name="check: health" time="0.035"/>
    <testcase classname="default.smoke" name="check: auth" time="0.035">
      <failure message="expected 401, found 200" type="check"></failure>
      <system-out>attempt 1 failed: expected 401, found 500</system-out>
    </testcase>
    <testcase classname="default.smoke" name="run" time="2.000">
      <failure message="1 of 2 checks failed" type="smoke.checks">last call: http GET /board</failure>
      <system-out>attempt 1 failed: 1 of 2 checks failed</system-out>
    </testcase>
  </testsuite>
  <testsuite name="announce" tests="1" failures="0" errors="0" skipped="1" time="0.000">
    <testcase classname="default.announce" name="run" time="0.000">
      <skipped message="not reached"/>
    </testcase>
  </testsuite>
  <testsuite name="rollback verify" tests="2" failures="0" errors="0" skipped="0" time="1.250">
    <testcase classname="default.rollback verify" name="check: health" time="0.035"/>
    <testcase classname="default.rollback verify" name="run" time="1.250"/>
  </testsuite>
</testsuites>
"#;
    assert_eq!(without_properties(&xml), expected);
    assert!(
        xml.contains("<property name=\"exit-code\" value=\"11\"/>"),
        "{xml}"
    );
}

#[test]
fn success_is_green() {
    let xml = xml(&script::success());
    assert!(
        xml.contains("tests=\"6\" failures=\"0\" skipped=\"1\""),
        "{xml}"
    );
    assert!(!xml.contains("<failure"), "{xml}");
}

#[test]
fn no_run_that_did_not_deploy_is_green() {
    // Killed: no last event.
    let killed = xml(&[script::run_started(&["a"], false)]);
    assert!(killed.contains("the run did not finish"), "{killed}");
    // Held: no step failed.
    let held = xml(&[
        script::run_started(&["a"], false),
        script::finished(Outcome::Held, 20, "run 01X (ci) has it", &[]),
    ]);
    let expected = "<failure message=\"held: another run holds the target\" type=\"exit.20\">run 01X (ci) has it</failure>";
    assert!(held.contains(expected), "{held}");
}

#[test]
fn nothing_in_a_text_breaks_the_file() {
    assert_eq!(
        escape("a<b> & \"c\" 'd'\n\x1b\0\u{ffff}]]>ü"),
        "a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;&#10;]]&gt;ü"
    );
}
