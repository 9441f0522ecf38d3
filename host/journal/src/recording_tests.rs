use super::*;
use crate::Entry;
use serde_json::json;
use vdeploy_core::event::Outcome;
use vdeploy_core::plan::Plan;

fn recording() -> Recording {
    let plan = Plan::bare("default");
    let record = RunRecord {
        id: "01RUN".into(),
        plan,
        configs: [("a".into(), json!({ "k": 1 }))].into(),
        target: "infra".into(),
        vm: Some("vm-1".to_owned()),
        url: Some("https://{vm}.x".to_owned()),
        plugins: BTreeMap::new(),
        rolls_back: Some("01OLD".into()),
        started_by: "a test".to_owned(),
        started_at: 1,
        host_version: "0".to_owned(),
        dry_run: false,
    };
    let entry = Entry::Finished {
        outcome: Outcome::Deployed,
        message: "two\nlines".to_owned(),
    };
    let stored = |seq| Stored {
        seq,
        at: seq * 7,
        entry: entry.clone(),
    };
    Recording {
        record,
        rolled_back: Some(RolledBack {
            run: "01OLD".into(),
            outputs: [("a".into(), json!({ "sha": "abc" }))].into(),
        }),
        journal: vec![stored(1), stored(2)],
    }
}

fn file() -> Vec<String> {
    recording().lines().unwrap()
}

#[test]
fn what_is_written_is_read_back_line_for_line() {
    let lines = file();
    assert_eq!(lines.len(), 6);
    assert_eq!(
        lines[0],
        format!(
            r#"{{"type":"recording","format":1,"journal-format":{JOURNAL_FORMAT},"vdeploy":"{}"}}"#,
            env!("CARGO_PKG_VERSION")
        )
    );
    assert!(lines.iter().all(|line| !line.contains('\n')));
    let back = Recording::read(&lines.join("\n")).unwrap();
    assert_eq!(back, recording());
    assert_eq!(back.lines().unwrap(), lines);
}

#[test]
fn what_a_later_version_adds_is_skipped() {
    let mut lines = file();
    lines.insert(2, r#"{"type":"new","x":1}"#.to_owned());
    lines[1] = lines[1].replacen('{', r#"{"more":true,"#, 1);
    assert_eq!(Recording::read(&lines.join("\n")).unwrap(), recording());
}

#[test]
fn what_is_no_whole_recording_is_refused_with_the_reason() {
    let whole = file();
    let without = |at: usize| {
        let mut lines = whole.clone();
        lines.remove(at);
        lines.join("\n")
    };
    let newer = |from: &str, to: &str| whole.join("\n").replacen(from, to, 1);
    let damaged = whole.join("\n").replacen(r#""seq":2"#, r#""seq":"x""#, 1);
    let journal = format!(r#""journal-format":{JOURNAL_FORMAT}"#);
    for (text, said) in [
        (String::new(), "it is empty"),
        ("hello".to_owned(), "no recording of a run"),
        (without(0), "does not name the format"),
        (without(1), "it has no run"),
        (without(3), "it has 1 entries of 2"),
        (without(5), "it has no last line"),
        (newer(r#""format":1"#, r#""format":2"#), "update vdeploy"),
        (
            newer(&journal, r#""journal-format":99"#),
            "journal format 99",
        ),
        (
            // Its entries have other words, and are not read.
            newer(&journal, r#""journal-format":2"#).replace("finished", "ended"),
            "replay it with that vdeploy",
        ),
        (damaged, "line 5 cannot be read"),
    ] {
        let error = Recording::read(&text).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}
