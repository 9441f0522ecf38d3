//! A step that makes a self-managed snapshot, against the fake host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde::Deserialize;
use serde_json::{Value, json};
use vdeploy_plugin::testing::{self, FakeHost, FakeOutput};
use vdeploy_plugin::{Cx, Error, Step};

#[derive(Deserialize)]
struct Config {
    declare: Vec<String>,
}

struct Dump;

impl Step for Dump {
    type Config = Config;
    type Output = Value;

    fn run(cx: &Cx<Config>) -> Result<Value, Error> {
        cx.ssh("dump").exec()?;
        for id in &cx.config().declare {
            cx.snapshot().declare(id, "before")?;
        }
        Ok(json!({}))
    }
}

fn host(scope: &str, declare: &[&str]) -> FakeHost {
    let manifest = format!(
        r#"
name = "dump"
version = "0.1.0"
summary = "d"
api = "1.0"
[[request]]
capability = "ssh"
scope = "dump"
reason = "r"
[[request]]
capability = "snapshot"
scope = "{scope}"
reason = "r"
[config.properties.declare]
type = "array"
"#
    );
    FakeHost::new()
        .manifest(&manifest)
        .config(json!({ "declare": declare }))
        .on_ssh("dump", FakeOutput::ok(""))
}

fn code(host: &FakeHost) -> String {
    testing::run::<Dump>(host).unwrap_err().code
}

#[test]
fn with_the_grant_it_is_made_and_declared_once() {
    let host = host("self-managed", &["a-1", "a-1"]);
    testing::run::<Dump>(&host).unwrap();
    assert_eq!(host.snapshots(), [("before".to_owned(), "a-1".to_owned())]);
    assert_eq!(host.changes()[0], "exec dump");
}

#[test]
fn the_rules_of_the_gate_hold() {
    assert_eq!(code(&host("create", &["a-1"])), "gate.no-snapshot");
    assert_eq!(code(&host("self-managed", &[])), "gate.not-declared");
    assert_eq!(
        code(&host("self-managed", &["two words"])),
        "snapshot.invalid"
    );
    let taken = host("create", &["a-1"]).snapshot_taken(true);
    assert_eq!(code(&taken), "snapshot.denied");
    let dry = host("self-managed", &["a-1"]).dry_run(true);
    testing::run::<Dump>(&dry).unwrap();
    assert!(dry.snapshots().is_empty());
}
