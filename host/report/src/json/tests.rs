use super::*;
use crate::script::{self, Show as _};
use crate::sink::tests::Kept;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

fn lines(events: &[RunEvent]) -> Vec<String> {
    let kept = Kept::default();
    let clock = AtomicU64::new(1_700_000_000_000);
    let now = move || clock.fetch_add(1_000, Ordering::Relaxed);
    let mut reporter = JsonReporter::with_clock(Sink::new(kept.clone()), Box::new(now));
    reporter.show(events);
    kept.text().lines().map(str::to_owned).collect()
}

#[test]
fn the_version_comes_first_then_every_event() {
    let events = script::success();
    let lines = lines(&events);
    assert_eq!(lines.len(), events.len() + 1);
    let expected = [
        r#"{"type":"version","format":1,"vdeploy":"0.1.0"}"#,
        r#"{"seq":1,"at":1700000000000,"type":"run-started","run":"01K0RUN","plan":"default","target":"infra","vm":"vm-1","steps":["git-pull","smoke"],"dry-run":false}"#,
        r#"{"seq":2,"at":1700000001000,"type":"doing","text":"connecting to vm-1"}"#,
        r#"{"seq":3,"at":1700000002000,"type":"step-started","step":"git-pull","section":"steps","phase":"check","attempt":1}"#,
        r#"{"seq":4,"at":1700000003000,"type":"step-finished","step":"git-pull","section":"steps","phase":"check","summary":null,"output":null,"duration-ms":1250}"#,
    ];
    assert_eq!(lines[..5], expected);
    let expected = [
        r#"{"seq":9,"at":1700000008000,"type":"call-started","step":"git-pull","call":1,"action":"ssh git fetch origin","change":true}"#,
        r#"{"seq":10,"at":1700000009000,"type":"output","step":"git-pull","stream":"stdout","line":"From example.org:\u001b[1mapp\u001b[0m"}"#,
        r#"{"seq":11,"at":1700000010000,"type":"call-finished","step":"git-pull","call":1,"ok":true,"not-made":false,"duration-ms":40}"#,
    ];
    assert_eq!(lines[9..12], expected);
    assert_eq!(
        lines.last().unwrap(),
        r#"{"seq":19,"at":1700000018000,"type":"run-finished","run":"01K0RUN","outcome":"deployed","unchanged":false,"target-changed":false,"blocking-run":null,"exit-code":0,"message":"","next":["vdeploy rollback 01K0RUN"],"url":"https://vm-1.example","duration-ms":65000}"#
    );
}

#[test]
fn a_failure_and_its_rollback() {
    let lines = lines(&script::rolled_back());
    let expected = [
        r#"{"seq":9,"at":1700000008000,"type":"check","step":"smoke","name":"auth","status":"failed","duration-ms":35,"detail":"expected 401, found 500"}"#,
        r#"{"seq":10,"at":1700000009000,"type":"step-failed","step":"smoke","section":"steps","phase":"run","failure":{"error":{"kind":"failed","code":"smoke.checks","message":"1 of 2 checks failed","maybe-applied":true},"context":["last call: http GET /board"]},"retry-in-ms":2000,"duration-ms":2000}"#,
    ];
    assert_eq!(lines[9..11], expected);
    let expected = [
        r#"{"seq":15,"at":1700000014000,"type":"rollback-started","cause":"smoke"}"#,
        r#"{"seq":16,"at":1700000015000,"type":"step-started","step":"git-pull","section":"steps","phase":"undo","attempt":1}"#,
    ];
    assert_eq!(lines[15..17], expected);
    assert_eq!(
        lines[19],
        r#"{"seq":19,"at":1700000018000,"type":"target-moved","from":"vm-1","to":"vm-2"}"#
    );
}

#[test]
fn nothing_had_to_change() {
    let lines = lines(&script::unchanged());
    assert_eq!(
        lines[4],
        r#"{"seq":4,"at":1700000003000,"type":"run-finished","run":"01K0RUN","outcome":"deployed","unchanged":true,"target-changed":false,"blocking-run":null,"exit-code":0,"message":"infra runs def456 already","next":[],"url":"https://vm-1.example","duration-ms":65000}"#
    );
}

#[test]
fn a_line_is_read_back_as_its_event() {
    for event in script::success().into_iter().chain(script::rolled_back()) {
        let line = lines(std::slice::from_ref(&event)).remove(1);
        assert_eq!(serde_json::from_str::<RunEvent>(&line).unwrap(), event);
    }
}

#[test]
fn a_closed_pipe_is_silence() {
    let (reader, writer) = std::io::pipe().unwrap();
    let probe = writer.try_clone().unwrap();
    let mut reporter = JsonReporter::new(Sink::new(writer));
    drop(reader);
    reporter.show(&script::success());
    assert_eq!(reporter.seq, 19);
    let mut probe = probe;
    assert!(probe.write_all(b"x").is_err());
}
