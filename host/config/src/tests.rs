//! The language as a whole: what an operator writes, and what becomes of it.

mod built_in;
mod mistakes;

use crate::*;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use vdeploy_core::ids::{PlanName, StepId};
use vdeploy_core::plan::{OnFailure, Plan, RollbackTo, Step};

fn load(text: &str) -> Result<Project, ConfigError> {
    Project::from_text("vdeploy.toml", text, Path::new("/p"))
}

/// The problems, one text each.
fn problems(text: &str) -> Vec<String> {
    let error = load(text).expect_err("the project is wrong");
    error.problems.iter().map(Problem::to_string).collect()
}

fn ids(project: &Project, plan: &str) -> Vec<String> {
    let plan = project.plan(&PlanName::from(plan)).unwrap();
    plan.steps.iter().map(|s| s.id.to_string()).collect()
}

fn config(project: &Project, plan: &str, step: &str) -> Value {
    let plan = project.plan(&PlanName::from(plan)).unwrap();
    let step = plan.all_steps().find(|s| s.id.as_str() == step).unwrap();
    Value::Object(step.config.clone())
}

const KEEP: &str = "on-failure = \"keep\"\n";

#[test]
fn a_check_is_added_and_a_step_replaced_with_a_few_lines() {
    let project = load(
        r#"
[plugins.own-check]
path = "checks/own.wasm"
[plugins.own-check.grants]
http = ["GET target/health"]

[plugins.own-restart]
path = "/abs/restart.wasm"

[plans.default]
extends = "default"
drop = ["announce"]

[[plans.default.step]]
id = "own-check"
plugin = "own-check"
after = "smoke"
timeout = "30s"
retry = { attempts = 3 }
config = { path = "/health" }

[[plans.default.step]]
replaces = "restart"
plugin = "own-restart"

[[plans.default.step]]
id = "npm-build"
timeout = "1h"
config.build = "make"

[[plans.default.step]]
id = "quota"
plugin = "own-check"
before = "git-pull"

[[plans.default.finally]]
id = "tidy"
plugin = "own-check"
"#,
    )
    .unwrap();
    assert_eq!(
        ids(&project, "default"),
        [
            "preflight",
            "snapshot",
            "quota",
            "git-pull",
            "npm-build",
            "restart",
            "smoke",
            "own-check"
        ]
    );
    let plan = project.plan(&"default".into()).unwrap();
    assert_eq!(plan.finally.len(), 1);
    assert_eq!(plan.steps[5].plugin.as_str(), "own-restart");
    assert_eq!(plan.steps[4].timeout, Duration::from_secs(3_600));
    let check = plan.steps.last().unwrap();
    assert_eq!(check.retry.attempts, 3);
    assert_eq!(check.retry.delay, Duration::from_secs(1));
    assert_eq!(
        config(&project, "default", "own-check"),
        json!({"path": "/health"})
    );
    let own = project.plugin(&"own-check".into()).unwrap();
    assert_eq!(own.source, PluginSource::Path("/p/checks/own.wasm".into()));
    let own = project.plugin(&"own-restart".into()).unwrap();
    assert_eq!(own.source, PluginSource::Path("/abs/restart.wasm".into()));
    assert_eq!(own.grants, vdeploy_scope::Grants::default());
    let place = project.place_of(&"default".into(), &StepId::from("own-check"), "/path/deep");
    assert_eq!(place.unwrap().to_string(), "vdeploy.toml:20:12");
}

#[test]
fn configuration_is_merged_along_a_chain_of_plans() {
    let project = load(
        r#"
[plans.a]
on-failure = "keep"
summary = "base"
[[plans.a.step]]
id = "smoke"
plugin = "smoke"
config = { port = 1, env = { A = "1", B = "1" }, list = [1, 2] }
retry = { attempts = 5, delay = "3s" }

[plans.b]
extends = "a"
[[plans.b.step]]
id = "smoke"
config = { env = { B = "2", C = "2" }, list = [3] }
retry = { delay = "4s" }

[plans.c]
extends = "b"
summary = "end"
[[plans.c.step]]
id = "smoke"
config = { port = 2 }
on-failure = "keep"
"#,
    )
    .unwrap();
    assert_eq!(
        config(&project, "c", "smoke"),
        json!({"port": 2, "env": {"A": "1", "B": "2", "C": "2"}, "list": [3]})
    );
    let c = project.plan(&"c".into()).unwrap();
    assert_eq!(c.summary, "end");
    assert_eq!(c.on_failure, OnFailure::Keep);
    assert_eq!(c.steps[0].retry.attempts, 5);
    assert_eq!(c.steps[0].retry.delay, Duration::from_secs(4));
    assert_eq!(c.steps[0].on_failure, Some(OnFailure::Keep));
    assert_eq!(project.plan(&"b".into()).unwrap().summary, "base");
    let at = |pointer| {
        project
            .place_of(&"c".into(), &"smoke".into(), pointer)
            .unwrap()
            .line
    };
    assert_eq!((at("/env/A"), at("/env/B"), at("/port")), (8, 15, 23));
}

#[test]
fn a_plugin_without_a_source_adds_grants_to_the_built_in_one() {
    let added = load("[plugins.smoke.grants]\nssh = [\"probe:df **\"]\n").unwrap();
    let before = Project::builtin().unwrap();
    let smoke = "smoke".into();
    let grants = &added.plugin(&smoke).unwrap().grants;
    let builtin = &before.plugin(&smoke).unwrap().grants;
    assert!(builtin.ssh.iter().all(|scope| grants.ssh.contains(scope)));
    assert_eq!(grants.http, builtin.http);
    assert!(grants.ssh.iter().any(|s| s.to_string() == "probe:df **"));
    let alone = load(
        "[plugins.smoke]\nsource = \"builtin:smoke\"\n[plugins.smoke.grants]\n\
         ssh = [\"probe:df **\"]\n",
    )
    .unwrap();
    assert_eq!(alone.plugin(&smoke).unwrap().grants.ssh.len(), 1);
    assert!(alone.plugin(&smoke).unwrap().grants.http.is_empty());
}

#[test]
fn targets_have_their_defaults_and_a_file_with_targets_has_only_its_own() {
    let project = load(
        r#"
[targets.prod]
type = "vers"
vm = "0123-ab"
host-key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
[targets.staging]
type = "vers"
vm-env = "STAGING_VM"
host-key = "first-use"
api-url = "https://api.staging.vers.sh/api/v1/"
ca-file = "ca.pem"
gateway = "127.0.0.1:4433"
tls-verify = false
[targets.here]
type = "local"
dir = "cloud"
"#,
    )
    .unwrap();
    let names: Vec<&str> = project.targets.keys().map(|n| n.as_str()).collect();
    assert_eq!(names, ["here", "prod", "staging"]);
    let TargetConfig::Vers(prod) = project.target(Some(&"prod".into())).unwrap().1 else {
        panic!("not a Vers target")
    };
    assert_eq!(prod.api_url.as_str(), "https://api.vers.sh/");
    assert_eq!(prod.url, "https://{vm}.vm.vers.sh:3000");
    assert_eq!((prod.user.as_str(), prod.tls_verify), ("root", true));
    assert_eq!(prod.vm.resolve(|_| None).unwrap().as_str(), "0123-ab");
    let TargetConfig::Vers(staging) = project.target(Some(&"staging".into())).unwrap().1 else {
        panic!("not a Vers target")
    };
    assert_eq!(staging.api_url.as_str(), "https://api.staging.vers.sh/");
    assert_eq!(staging.vm_domain, "vm.staging.vers.sh");
    assert_eq!(staging.url, "https://{vm}.vm.staging.vers.sh:3000");
    assert_eq!(staging.ca_file.as_deref(), Some(Path::new("/p/ca.pem")));
    let env = |name: &str| (name == "STAGING_VM").then(|| "77".to_owned());
    assert_eq!(staging.vm.resolve(env).unwrap().as_str(), "77");
    assert_eq!(
        staging.vm.resolve(|_| None).unwrap_err().to_string(),
        "vdeploy.toml:8:10: the VM id is to come from STAGING_VM, which is not set\n  help: \
         export STAGING_VM=VM_ID, or write `vm = \"VM_ID\"` in the target"
    );
    assert_eq!(
        project.target(None).unwrap_err().to_string(),
        "the project has several targets and no default\n  help: name one with --target (here, \
         prod, staging), or write default-target = \"here\" at the top of the project file"
    );
    assert_eq!(
        project.target(Some(&"prd".into())).unwrap_err().to_string(),
        "no target `prd`\n  help: did you mean `prod`?"
    );
    let one = load("[targets.x]\ntype = \"local\"\n").unwrap();
    assert_eq!(one.target(None).unwrap().0.as_str(), "x");
}

#[test]
fn the_command_line_is_where_its_values_come_from() {
    let project = load(
        "[plans.default]\nextends = \"default\"\n[[plans.default.step]]\nid = \"restart\"\n\
         config = { port = 1, env = { A = 1, B = 2 } }\n",
    )
    .unwrap();
    let (name, restart) = ("default".into(), "restart".into());
    let mut plan = project.plan(&name).unwrap().clone();
    let mut overrides = Overrides::default();
    for set in ["restart.port=2", "restart.env.B=3"] {
        apply_set(&mut plan, set, &mut overrides).unwrap();
    }
    let origin = |pointer| {
        project
            .origin_of(&name, &restart, pointer, &overrides)
            .unwrap()
    };
    assert_eq!(origin("/port"), "--set restart.port=2, column 9");
    assert_eq!(origin("/env/B/deep"), "--set restart.env.B=3, column 13");
    assert_eq!(origin("/env/A"), "vdeploy.toml:5:30");
    assert_eq!(origin("/nothing"), origin(""));
}
