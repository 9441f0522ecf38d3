//! What is said at the end of a replay, to people and to programs.

use crate::exit::ExitCode;
use serde_json::{Value, json};
use vdeploy_core::clean;
use vdeploy_core::event::{Outcome, Phase, Section};
use vdeploy_journal::store::RunRecord;
use vdeploy_report::difference;
use vdeploy_run::Replayed;
use vdeploy_run::replay::{Asked, Difference, What};
use vdeploy_run::trace::Ending;

/// For people.
pub fn as_text(
    record: &RunRecord,
    replayed: &Replayed,
    until: Option<&str>,
    recorded: Option<Outcome>,
) -> String {
    let done = format!(
        "{} and {}",
        counted(replayed.functions, "function"),
        counted(replayed.calls, "call")
    );
    if let Some(difference) = &replayed.difference {
        let mut lines = vec![format!(
            "DIFFERENT from run {}: {}",
            record.id,
            place(difference)
        )];
        lines.extend(what(&difference.what).into_iter().map(|l| format!("  {l}")));
        lines.push(format!("before it, {done} went as recorded"));
        let lines: Vec<_> = lines.iter().map(|line| clean::line(line)).collect();
        return lines.join("\n");
    }
    let how = match (until, &replayed.cut_off, recorded) {
        (_, Some(step), _) => {
            format!("the recording ends in step `{step}`, where the run was interrupted")
        }
        (Some(step), None, _) => format!("until step `{step}` had run"),
        (None, None, Some(outcome)) => {
            format!("it had ended with {}", word(outcome))
        }
        (None, None, _) => "the recording has no end".to_owned(),
    };
    clean::line(&format!("the same as run {}: {done}; {how}", record.id)).into_owned()
}

/// For programs: the last line of `--json`.
pub fn as_json(
    record: &RunRecord,
    replayed: &Replayed,
    until: Option<&str>,
    recorded: Option<Outcome>,
    exit: ExitCode,
) -> Value {
    json!({
        "type": "replayed",
        "run": record.id,
        "same": replayed.difference.is_none(),
        "functions": replayed.functions,
        "calls": replayed.calls,
        "until": until,
        "cut-off": replayed.cut_off,
        "recorded-outcome": recorded,
        "difference": replayed.difference.as_ref().map(difference_json),
        "exit-code": exit.code(),
    })
}

fn difference_json(found: &Difference) -> Value {
    let asked = |asked: &Option<Asked>| {
        let asked = asked.as_ref();
        asked.map(|(function, request)| json!({ "function": function, "request": request }))
    };
    let mut value = json!({
        "step": found.step,
        "section": found.section,
        "phase": found.phase,
        "attempt": found.attempt,
        "lines": what(&found.what),
    });
    let more = match &found.what {
        What::Call {
            call,
            recorded,
            now,
        } => json!({ "call": call, "recorded": asked(recorded), "now": asked(now) }),
        What::End { recorded, now } => {
            json!({ "call": null, "recorded": ending(recorded), "now": ending(now) })
        }
        What::Incomplete { call, .. } => json!({ "call": call, "recorded": null, "now": null }),
    };
    if let (Some(members), Value::Object(more)) = (value.as_object_mut(), more) {
        members.extend(more);
    }
    value
}

fn place(found: &Difference) -> String {
    let list = match found.section {
        Section::Steps => "step",
        Section::Rollback => "rollback step",
        Section::Finally => "finally step",
    };
    let function = match found.phase {
        Phase::Check => "check",
        Phase::Run => "run",
        Phase::Undo => "undo",
    };
    let attempt = match found.attempt {
        1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let at = match &found.what {
        What::Call { call, .. } | What::Incomplete { call, .. } => format!(", call {call}"),
        What::End { .. } => ", in how it ended".to_owned(),
    };
    format!("{list} `{}` ({function}{attempt}){at}", found.step)
}

/// In what it differs.
fn what(what: &What) -> Vec<String> {
    match what {
        What::Call { recorded, now, .. } => {
            let function = |asked: &Option<Asked>| match asked {
                Some((function, _)) => function.clone(),
                None => "no further call".to_owned(),
            };
            let mut lines = vec![
                format!("recorded  {}", function(recorded)),
                format!("now       {}", function(now)),
            ];
            lines.extend(match (recorded, now) {
                (Some((_, recorded)), Some((_, now))) => difference::lines(recorded, now),
                (Some((_, request)), None) | (None, Some((_, request))) => {
                    vec![format!("asks for  {}", difference::short(request))]
                }
                (None, None) => Vec::new(),
            });
            lines
        }
        What::End { recorded, now } => {
            let mut lines = vec![
                format!("recorded  {}", how(recorded)),
                format!("now       {}", how(now)),
            ];
            lines.extend(difference::lines(&ending(recorded), &ending(now)));
            lines
        }
        What::Incomplete { function, .. } => vec![format!(
            "the recording does not have the whole answer of `{function}`, as those of the first \
             versions of vdeploy: it cannot be replayed from here on"
        )],
    }
}

fn how(ending: &Ending) -> &'static str {
    match ending {
        Ending::Finished(_) => "finished",
        Ending::Failed(_) => "failed",
    }
}

fn ending(ending: &Ending) -> Value {
    match ending {
        Ending::Finished(output) => json!({ "output": output }),
        Ending::Failed(failure) => json!({ "failure": failure }),
    }
}

fn word(outcome: Outcome) -> String {
    let value = serde_json::to_value(outcome).unwrap_or_default();
    format!("`{}`", value.as_str().unwrap_or_default())
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
