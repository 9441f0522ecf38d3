//! The API of a plugin against the fake host, as an author uses it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use vdeploy_plugin::testing::{self, FakeHost, FakeOutput, FakeRequest, FakeResponse};
use vdeploy_plugin::{CheckStatus, Cx, Error, ErrorKind, Level, ResultExt, Step, Undo};

const MANIFEST: &str = r#"
name = "t"
version = "0.1.0"
summary = "t"
api = "1.0"
undo = true

[[request]]
capability = "ssh"
scope = "git **"
reason = "the tests"
[[request]]
capability = "ssh"
scope = "probe:df *"
reason = "the tests"
[[request]]
capability = "ssh"
scope = "sh -s -- hello **"
reason = "the tests"
[[request]]
capability = "http"
scope = "GET target/**"
reason = "the tests"
[[request]]
capability = "http"
scope = "POST target/commits"
reason = "the tests"
[[request]]
capability = "secrets"
scope = "token@target"
reason = "the tests"
[[request]]
capability = "snapshot"
scope = "create"
reason = "the tests"

[config]
required = ["act"]
[config.properties.act]
type = "string"
[config.properties.branch]
type = "string"
default = "main"
[config.properties.nested]
type = "object"
default = { deep = 7 }
[config.properties.nested.properties.deep]
type = "integer"
"#;

#[derive(Deserialize)]
struct Config {
    act: String,
    branch: String,
    nested: Nested,
}

#[derive(Deserialize)]
struct Nested {
    deep: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Done {
    text: String,
}

struct Act;

impl Step for Act {
    type Config = Config;
    type Output = Done;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        act(cx).map(drop)
    }

    fn run(cx: &Cx<Config>) -> Result<Done, Error> {
        act(cx).map(|text| Done { text })
    }
}

impl Undo for Act {
    fn undo(cx: &Cx<Config>, output: Option<Done>) -> Result<(), Error> {
        cx.info(format!("{output:?}"));
        Ok(())
    }
}

vdeploy_plugin::register_undoable_step!(Act);

fn act(cx: &Cx<Config>) -> Result<String, Error> {
    let out = match cx.config().act.as_str() {
        "config" => {
            return Ok(format!(
                "{} {}",
                cx.config().branch,
                cx.config().nested.deep
            ));
        }
        "pull" => cx.ssh("git").args(["pull", "a b"]).cwd("app").exec()?,
        "df" => cx.ssh("df").arg("/").exec()?,
        "npm" => cx.ssh("npm").probe().unwrap_or_default(),
        "hello" => cx.script("hello", "echo \"$1-$#\"").arg("x y").probe()?,
        "leak" => cx
            .ssh("git")
            .secret_env("T", &cx.secret("token")?)
            .probe()?,
        "snapshot" => {
            cx.snapshot().create("l")?;
            cx.ssh("git").exec()?
        }
        "post" => {
            let token = cx.secret("token")?;
            let url = cx.target_endpoint("/commits")?;
            let answer = cx
                .http("POST", url)
                .bearer(&token)
                .json(&json!({"a": 1}))
                .send()?;
            return Ok(answer.text());
        }
        "all" => {
            let get = |path: &str| cx.http("GET", cx.target_endpoint(path).unwrap());
            let answers = cx.http_all(vec![get("/a"), get("/b")]);
            let texts = answers.into_iter().map(|answer| match answer {
                Ok(answer) => format!(
                    "{}{}",
                    answer.status(),
                    answer.header("X-Y").unwrap_or_default()
                ),
                Err(error) => error.code,
            });
            return Ok(texts.collect::<Vec<_>>().join(" "));
        }
        "wait" => {
            let start = cx.now_ms();
            let mut pauses = Vec::new();
            return cx.wait_until(Duration::from_secs(5), "the port", || {
                pauses.push(cx.now_ms() - start);
                Ok((pauses.len() == 8).then(|| format!("{pauses:?}")))
            });
        }
        "never" => {
            return cx.wait_until(Duration::from_secs(3), "the port 3000", || Ok(None));
        }
        "earlier" => {
            let done: Option<Done> = cx.output_of("first").context("look back")?;
            return Ok(done.unwrap_or_default().text);
        }
        other => return Err(Error::invalid("act", other)),
    };
    Ok(out.into_success("the command")?.stdout_text())
}

fn host(act: &str) -> FakeHost {
    FakeHost::new()
        .manifest(MANIFEST)
        .config(json!({"act": act}))
        .secret("token", "s3cret")
        .on_ssh("git **", FakeOutput::ok("pulled"))
}

fn text(host: &FakeHost) -> Result<String, String> {
    testing::run::<Act>(host)
        .map(|done| done.text)
        .map_err(|error| error.code)
}

#[test]
fn defaults_are_filled_in_and_unknown_keys_refused() {
    assert_eq!(text(&host("config")), Ok("main 7".into()));
    let given =
        host("config").config(json!({"act": "config", "branch": "x", "nested": {"deep": 1}}));
    assert_eq!(text(&given), Ok("x 1".into()));
    let unknown = host("config").config(json!({"act": "config", "brunch": "x"}));
    assert_eq!(text(&unknown), Err("config.invalid".into()));
    let missing = host("config").config(json!({}));
    assert_eq!(text(&missing), Err("config.invalid".into()));
}

#[test]
fn a_change_needs_a_snapshot_and_is_refused_in_check() {
    assert_eq!(text(&host("pull")), Err("gate.no-snapshot".into()));
    let ready = host("pull").snapshot_taken(true);
    assert_eq!(text(&ready), Ok("pulled".into()));
    assert_eq!(ready.changes(), ["exec git pull a b"]);
    assert_eq!(ready.commands()[0].cwd.as_deref(), Some("app"));
    assert_eq!(
        testing::check::<Act>(&ready).unwrap_err().code,
        "gate.check"
    );
    // The snapshot opens the gate for later changes.
    assert_eq!(text(&host("snapshot")), Ok("pulled".into()));
    assert_eq!(
        testing::check::<Act>(&host("snapshot")).unwrap_err().code,
        "gate.check"
    );
}

#[test]
fn a_dry_run_pretends_changes() {
    let host = host("pull").dry_run(true);
    assert_eq!(text(&host), Ok(String::new()));
}

#[test]
fn what_the_manifest_does_not_request_is_denied() {
    // The scope is for probes, the step sends a change.
    assert_eq!(
        text(&host("df").snapshot_taken(true)),
        Err("ssh.denied".into())
    );
    // The secret may go only to the URL of the target.
    assert_eq!(text(&host("leak")), Err("secret.denied".into()));
}

#[test]
fn what_nobody_scripted_fails_also_when_swallowed() {
    let host = FakeHost::new().config(json!({"act": "npm", "branch": "", "nested": {"deep": 1}}));
    let error = testing::run::<Act>(&host).unwrap_err();
    assert_eq!(error.code, "testing.unscripted");
    assert!(error.message.contains("probe npm"), "{error}");
}

#[test]
fn a_script_sees_its_arguments_without_its_name() {
    let home = std::env::temp_dir();
    let host = FakeHost::new()
        .manifest(MANIFEST)
        .config(json!({"act": "hello"}))
        .ssh(testing::local_shell(home));
    assert_eq!(text(&host), Ok("x y-1\n".into()));
    assert_eq!(host.commands()[0].script(), Some("hello"));
    assert_eq!(host.commands()[0].script_args(), ["x y"]);
}

#[test]
fn a_failed_command_says_how_and_shows_its_last_lines() {
    let lines: String = (1..=30).map(|n| format!("line {n}\n")).collect();
    let failed = FakeHost::new()
        .config(json!({"act": "pull", "branch": "", "nested": {"deep": 1}}))
        .snapshot_taken(true)
        .on_ssh_each(
            "git **",
            [FakeOutput::fail(3, lines), FakeOutput::signal("TERM")],
        );
    let error = testing::run::<Act>(&failed).unwrap_err();
    assert_eq!((error.kind, error.maybe_applied), (ErrorKind::Failed, true));
    assert!(
        error
            .message
            .starts_with("the command ended with exit code 3"),
        "{error}"
    );
    assert!(error.message.contains("line 11\n") && !error.message.contains("line 10\n"));
    let error = testing::run::<Act>(&failed).unwrap_err();
    assert!(error.message.contains("signal TERM"), "{error}");
}

#[test]
fn a_secret_goes_into_the_header_and_nowhere_else() {
    let host = host("post")
        .snapshot_taken(true)
        .http(|request: &FakeRequest| FakeResponse::new(201, request.body.clone()));
    assert_eq!(text(&host), Ok(r#"{"a":1}"#.into()));
    let request = &host.requests()[0];
    assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert!(!host.call_lines().join(" ").contains("s3cret"));
}

#[test]
fn probes_sent_together_answer_in_order() {
    let host = host("all")
        .on_http("GET", "/a", FakeResponse::new(404, "").header("x-y", "!"))
        .fail_call(2, Error::new(ErrorKind::Timeout, "http.timeout", "slow"));
    assert_eq!(text(&host), Ok("404! http.timeout".into()));
}

#[test]
fn waiting_backs_off_and_ends_at_the_deadline() {
    let waiting = host("wait");
    let started = waiting.now_ms();
    assert_eq!(
        text(&waiting),
        Ok("[0, 50, 150, 350, 750, 1550, 2550, 3550]".into())
    );
    assert_eq!(waiting.now_ms() - started, 3550);
    let error = testing::run::<Act>(&host("never")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert_eq!(error.message, "waited 3.0 s for the port 3000");
}

#[test]
fn outputs_travel_and_a_wrong_shape_names_its_step() {
    let given = host("earlier").output("first", json!({"text": "hi"}));
    assert_eq!(text(&given), Ok("hi".into()));
    assert_eq!(text(&host("earlier")), Ok(String::new()));
    let wrong = host("earlier").output("first", json!({"text": 1}));
    let error = testing::run::<Act>(&wrong).unwrap_err();
    assert!(
        error
            .message
            .starts_with("look back: output of step `first`"),
        "{error}"
    );
}

#[test]
fn undo_gets_what_run_returned() {
    let host = host("config");
    let output = testing::run_json::<Act>(&host).unwrap();
    testing::undo::<Act>(&host, Some(output)).unwrap();
    testing::undo::<Act>(&host, None).unwrap();
    let lines: Vec<String> = host.logs().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["Some(Done { text: \"main 7\" })", "None"]);
    assert_eq!(host.logs()[0].0, Level::Info);
}

struct Odd;

impl Step for Odd {
    type Config = serde_json::Value;
    type Output = Vec<u8>;

    fn run(cx: &Cx<serde_json::Value>) -> Result<Vec<u8>, Error> {
        cx.check_failed("a", Duration::from_millis(3), Some("found b"));
        cx.state().put_json("k", &1)?;
        assert_eq!(cx.state().get_json::<u8>("k")?, Some(1));
        cx.state().delete("k")?;
        Ok(Vec::new())
    }
}

#[test]
fn an_output_must_be_an_object() {
    let host = FakeHost::new();
    assert_eq!(
        testing::run::<Odd>(&host).unwrap_err().code,
        "output.invalid"
    );
    assert_eq!(host.checks()[0].status, CheckStatus::Failed);
    assert_eq!(host.checks()[0].detail.as_deref(), Some("found b"));
    assert_eq!(host.stored("k"), None);
}

struct Looks;

impl Step for Looks {
    type Config = Vec<(String, bool)>;
    type Output = serde_json::Value;

    fn check(cx: &Cx<Self::Config>) -> Result<(), Error> {
        for (name, passes) in cx.config() {
            match passes {
                true => cx.check_passed(name, Duration::ZERO, None),
                false => cx.check_failed(name, Duration::ZERO, Some("found b")),
            }
        }
        Ok(())
    }

    fn run(cx: &Cx<Self::Config>) -> Result<serde_json::Value, Error> {
        Self::check(cx)?;
        Ok(json!({}))
    }
}

#[test]
fn a_step_that_passes_a_failed_check_over_has_failed() {
    let host = |checks: serde_json::Value| FakeHost::new().config(checks);
    let failed = host(json!([["a", true], ["b", false]]));
    let error = testing::run::<Looks>(&failed).unwrap_err();
    assert_eq!(error.code, "check.failed");
    assert_eq!(error.message, "the check `b` failed: found b");
    assert_eq!(
        testing::check::<Looks>(&failed).unwrap_err().code,
        "check.failed"
    );
    // The last status of a name counts.
    let again = host(json!([["b", false], ["b", true]]));
    testing::run::<Looks>(&again).unwrap();
    // Checks of an earlier call do not count.
    let well = failed.config(json!([["a", true]]));
    testing::run::<Looks>(&well).unwrap();
}

#[test]
fn only_a_vm_that_a_restore_has_left_is_paused() {
    struct Pause;
    impl Step for Pause {
        type Config = String;
        type Output = serde_json::Value;
        fn run(cx: &Cx<String>) -> Result<serde_json::Value, Error> {
            cx.snapshot().pause_old(cx.config())?;
            Ok(json!({}))
        }
    }
    let host = FakeHost::new().left_vm("vm-0").snapshot_taken(true);
    let pause = |vm: &str| testing::run::<Pause>(&host.clone().config(json!(vm)));
    pause("vm-0").unwrap();
    for other in ["vm-1", "vm-of-somebody"] {
        assert_eq!(pause(other).unwrap_err().code, "snapshot.not-left");
    }
}

#[test]
fn a_manifest_that_the_host_refuses_is_refused_here_with_its_place() {
    let wrong = MANIFEST.replace("api = \"1.0\"", "api = \"banana\"");
    let host = FakeHost::new().manifest(&wrong);
    let error = testing::run::<Act>(&host).unwrap_err();
    assert_eq!(error.code, "testing.manifest");
    assert!(error.message.starts_with("plugin.toml:5:7: "), "{error}");
}
