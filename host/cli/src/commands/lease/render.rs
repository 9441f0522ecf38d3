//! What `vdeploy lease show` prints.

use crate::exit::ExitCode;
use crate::terminal;
use serde_json::{Value, json};
use vdeploy_core::clean::line;
use vdeploy_journal::lease_breaks::LeaseBreak;
use vdeploy_lease::LeaseHolder;
use vdeploy_lease::process::Process;
use vdeploy_ops::lease::status::{LeaseStatus, OnTargetStatus};

/// Version of the JSON form.
const FORMAT: u32 = 1;

/// The exit code of the command that printed it.
pub fn exit(status: &LeaseStatus) -> ExitCode {
    match status.there {
        OnTargetStatus::Unknown(_) => ExitCode::Unreachable,
        OnTargetStatus::Nobody | OnTargetStatus::Held(_) => ExitCode::Success,
    }
}

pub fn print(looked: &LeaseStatus, as_json: bool) {
    match as_json {
        true => terminal::say_json(&json(looked)),
        false => terminal::say(text(looked).trim_end()),
    }
}

/// For people.
pub fn text(looked: &LeaseStatus) -> String {
    let target = &looked.target;
    let stored = looked
        .stored
        .as_ref()
        .map(|holder| LeaseHolder::in_store(holder, looked.now));
    let (held_there, there) = match &looked.there {
        OnTargetStatus::Held(holder) => (true, line(&holder.line()).into_owned()),
        OnTargetStatus::Nobody => (false, "nobody".to_owned()),
        OnTargetStatus::Unknown(why) => (
            false,
            format!("not known: the target cannot be asked: {}", one_line(why)),
        ),
    };
    let head = match (&stored, &looked.there) {
        (None, OnTargetStatus::Nobody) => format!("nobody holds the target `{target}`"),
        (None, OnTargetStatus::Unknown(_)) => format!(
            "nobody on this machine holds the target `{target}`; whether another one does is not \
             known"
        ),
        _ => format!("the target `{target}` is held"),
    };
    let mut text = format!("{head}\n");
    if stored.is_some() || held_there || matches!(looked.there, OnTargetStatus::Unknown(_)) {
        let stored = stored.map_or_else(
            || "nobody".to_owned(),
            |holding| line(&holding.line()).into_owned(),
        );
        text.push_str(&format!("  in the store   {stored}\n"));
        text.push_str(&format!("  on the target  {there}\n"));
    }
    if let Some(broken) = &looked.last_break {
        text.push_str(&format!("  last broken    {}\n", line(&sentence(broken))));
    }
    text
}

/// Whose lease was broken by whom, when and why.
pub fn sentence(broken: &LeaseBreak) -> String {
    let at = i64::try_from(broken.at)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |at| {
            at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
        });
    let who = match broken.who.is_empty() {
        true => String::new(),
        false => format!(" ({})", broken.who),
    };
    format!(
        "that of run {}{who}, by {}, {at}: {}",
        broken.run, broken.by, broken.reason
    )
}

/// For programs.
pub fn json(looked: &LeaseStatus) -> Value {
    let stored = looked.stored.as_ref();
    let stored = stored.map(|holder| member(&LeaseHolder::in_store(holder, looked.now)));
    let there = match &looked.there {
        OnTargetStatus::Nobody => json!({ "state": "free" }),
        OnTargetStatus::Unknown(why) => json!({ "state": "unknown", "why": why }),
        OnTargetStatus::Held(holder) => {
            let mut held = member(holder);
            if let Some(members) = held.as_object_mut() {
                members.insert("state".to_owned(), "held".into());
            }
            held
        }
    };
    json!({
        "format": FORMAT,
        "target": looked.target,
        "held": stored.is_some() || matches!(looked.there, OnTargetStatus::Held(_)),
        "store": stored,
        "on-target": there,
        "last-break": looked.last_break,
    })
}

fn member(holding: &LeaseHolder) -> Value {
    let (process, pid) = match holding.process() {
        Process::Runs(pid) => ("runs", Some(pid)),
        Process::Stopped(pid) => ("stopped", Some(pid)),
        Process::Gone(pid) => ("gone", Some(pid)),
        Process::Elsewhere => ("unknown", None),
    };
    json!({
        "run": holding.run,
        "who": holding.who.name,
        "since": holding.since.map(jiff::Timestamp::as_millisecond),
        "ends-in-ms": u64::try_from(holding.ends_in.as_millis()).unwrap_or(u64::MAX),
        "process": process,
        "pid": pid,
    })
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vdeploy_journal::store::Holder;

    fn looked(stored: bool, there: OnTargetStatus) -> LeaseStatus {
        LeaseStatus {
            target: "infra".into(),
            now: 3_000,
            stored: stored.then(|| Holder {
                run: "01A".into(),
                who: "ci@elsewhere pid 7".into(),
                since: 1_000,
                expires: 9_500,
            }),
            there,
            last_break: None,
        }
    }

    fn holder() -> LeaseHolder {
        LeaseHolder {
            run: "01A".into(),
            who: "ci@elsewhere pid 7".into(),
            since: jiff::Timestamp::from_second(1).ok(),
            ends_in: Duration::from_secs(7),
        }
    }

    #[test]
    fn it_says_plainly_who_holds_what() {
        let line = "run 01A (ci@elsewhere pid 7), since 1970-01-01T00:00:01Z, for 7 s more unless \
                    it is renewed; whether its process still runs cannot be seen from here";
        assert_eq!(
            text(&looked(true, OnTargetStatus::Held(holder()))),
            format!(
                "the target `infra` is held\n  in the store   {line}\n  on the target  {line}\n"
            )
        );
        assert_eq!(
            text(&looked(false, OnTargetStatus::Nobody)),
            "nobody holds the target `infra`\n"
        );
        let unknown = text(&looked(
            false,
            OnTargetStatus::Unknown("no route\nhelp: x".into()),
        ));
        assert_eq!(
            unknown,
            "nobody on this machine holds the target `infra`; whether another one does is not \
             known\n  in the store   nobody\n  on the target  not known: the target cannot be \
             asked: no route; help: x\n"
        );
    }

    #[test]
    fn the_last_break_is_told() {
        let mut looked = looked(false, OnTargetStatus::Nobody);
        looked.last_break = Some(LeaseBreak {
            run: "01A".into(),
            who: "ci@x pid 7".to_owned(),
            by: "ada@desk pid 9".to_owned(),
            reason: "runner 4 is gone".to_owned(),
            at: 0,
            token: 1,
        });
        assert_eq!(
            text(&looked),
            "nobody holds the target `infra`\n  last broken    that of run 01A (ci@x pid 7), by \
             ada@desk pid 9, 1970-01-01 00:00:00 UTC: runner 4 is gone\n"
        );
        assert_eq!(json(&looked)["last-break"]["by"], "ada@desk pid 9");
    }

    #[test]
    fn programs_get_the_same() {
        let value = json(&looked(true, OnTargetStatus::Held(holder())));
        assert_eq!(value["held"], true);
        assert_eq!(value["store"]["run"], "01A");
        assert_eq!(value["store"]["ends-in-ms"], 6_500);
        assert_eq!(value["on-target"]["state"], "held");
        assert_eq!(value["on-target"]["process"], "unknown");
        let value = json(&looked(false, OnTargetStatus::Nobody));
        assert_eq!(
            (&value["held"], &value["store"]),
            (&false.into(), &Value::Null)
        );
        assert_eq!(value["on-target"]["state"], "free");
    }
}
