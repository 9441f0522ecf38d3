//! The language as a whole: what an operator writes, and what is said about
//! what is wrong with it. Over 500 lines: mistakes in every part of a
//! project file, told with the same few helpers; to be split by those parts.

use super::*;
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
fn the_built_in_project_has_its_plans() {
    let project = Project::builtin().unwrap();
    let names: Vec<&str> = project.plans.keys().map(PlanName::as_str).collect();
    let expected = [
        "default",
        "default-ssh",
        "restart",
        "restart-ssh",
        "rollback",
        "rollback-ssh",
        "smoke",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        ids(&project, "default"),
        [
            "preflight",
            "snapshot",
            "git-pull",
            "npm-build",
            "restart",
            "smoke",
            "announce"
        ]
    );
    let default = project.plan(&"default".into()).unwrap();
    assert_eq!(default.on_failure, OnFailure::Rollback);
    assert_eq!(default.rollback_to, RollbackTo::InPlace);
    let rollback: Vec<&str> = default.rollback.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(rollback, ["rollback", "smoke-after-rollback"]);
    for name in builtin::BUILTIN_PLUGINS {
        let plugin = project.plugin(&name.into()).unwrap();
        assert_eq!(plugin.source, PluginSource::Builtin(name.to_owned()));
    }
}

#[test]
fn the_plans_with_archives_differ_in_the_snapshot_and_its_restore_only() {
    let project = Project::builtin().unwrap();
    for base in ["default", "restart", "rollback"] {
        let plain = project.plan(&base.into()).unwrap();
        let ssh = project
            .plan(&format!("{base}-ssh").as_str().into())
            .unwrap();
        let others = |plan: &Plan| -> Vec<Step> {
            let own = |step: &&Step| !["snapshot", "restore"].contains(&step.id.as_str());
            plan.all_steps().filter(own).cloned().collect()
        };
        assert_eq!(others(plain), others(ssh), "{base}");
        let archives = ssh.all_steps().filter(|s| s.plugin.as_str() == "archive");
        let archives: Vec<&str> = archives.map(|s| s.id.as_str()).collect();
        assert_eq!(archives, ["snapshot", "restore"], "{base}");
        let ids: Vec<&str> = ssh.all_steps().map(|s| s.id.as_str()).collect();
        let at = |id: &str| ids.iter().position(|found| *found == id);
        assert_eq!(at("restore").map(|at| at + 1), at("rollback"), "{base}");
    }
}

#[test]
fn the_smoke_plan_is_granted_nothing_that_changes_anything() {
    let project = Project::builtin().unwrap();
    let smoke = project.plugin(&"smoke".into()).unwrap();
    assert!(smoke.grants.ssh.iter().all(|s| s.is_probe_only()));
    assert!(
        smoke
            .grants
            .http
            .iter()
            .all(|s| s.to_string().starts_with("GET "))
    );
    assert!(smoke.grants.snapshot.is_empty() && !smoke.grants.state);
}

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
fn every_problem_of_a_file_is_reported_in_order() {
    assert_eq!(
        problems(
            r#"defualt-target = "x"
default-target = "ifra"
[targets.infra]
type = "vers"
api-url = "http://api.vers.sh"
host-keys = "x"
[secrets.hook]
env = "A"
file = "b"
[plugins.own]
grants = { http = ["GET target"], shh = [] }
[plugins.two]
source = "builtin:smok"
digest = "sha256:12"
[plugins.three]
path = "x.wasm"
grants = { secrets = ["hok@ssh", "nothing-alike@ssh"], state = 1 }
[plans.p]
on-failure = "roll-back"
[[plans.p.step]]
id = "a"
plugin = "smoek"
timeout = "10"
retry = { attempts = 0, dleay = "1s" }
"#
        ),
        [
            "vdeploy.toml:1:1: unknown key `defualt-target` in the project\n  help: did you mean \
             `default-target`?",
            "vdeploy.toml:2:18: no target `ifra`\n  help: did you mean `infra`?",
            "vdeploy.toml:3:10: [targets.infra] does not say which VM\n  help: write vm = \
             \"VM_ID\", or vm-env = \"VARIABLE\" to take it from the environment, or vm-registry = \"URL\" to look it up in the service's registry",
            "vdeploy.toml:3:10: [targets.infra] has no `host-key`\n  help: write host-key = \
             \"SHA256:…\" (from ssh-keygen -lf on the VM), or host-key = \"first-use\" to pin the \
             key that the first run sees",
            "vdeploy.toml:5:11: `http://api.vers.sh` would send the API key unencrypted; write \
             an https URL",
            "vdeploy.toml:6:1: unknown key `host-keys` in [targets.infra]\n  help: did you mean \
             `host-key`?",
            "vdeploy.toml:7:10: [secrets.hook] has more than one source\n  help: write one of \
             env = \"VARIABLE\", file = \"PATH\", command = [\"PROGRAM\", \"ARG\"]",
            "vdeploy.toml:10:10: plugin `own` has no `source` or `path`\n  help: write path = \
             \"FILE.wasm\", or source = \"builtin:NAME\"",
            "vdeploy.toml:11:20: http scope \"GET target\": `target` is neither `target/PATH` \
             nor `SCHEME://HOST/PATH`; write methods and an address, for example \"GET \
             target/**\" or \"POST https://hooks.example.com/deploys\"",
            "vdeploy.toml:11:35: unknown key `shh` in [plugins.own.grants]\n  help: did you mean \
             `ssh`?",
            "vdeploy.toml:13:10: no built-in plugin `smok`; did you mean `smoke`?",
            "vdeploy.toml:14:10: `sha256:12` is not a digest; write \"sha256:\" and 64 hex \
             digits, as sha256sum prints",
            "vdeploy.toml:17:23: no secret `hok`\n  help: did you mean `hook`? Otherwise add \
             [secrets.hok] with env, file or command",
            "vdeploy.toml:17:34: no secret `nothing-alike`\n  help: add [secrets.nothing-alike] \
             with env, file or command",
            "vdeploy.toml:17:64: `state` must be true or false, not an integer",
            "vdeploy.toml:19:14: `on-failure` is \"roll-back\"; write \"rollback\" or \"keep\"",
            "vdeploy.toml:22:10: no plugin `smoek`\n  help: did you mean `smoke`?",
            "vdeploy.toml:23:11: `10` is not a duration; write a number and a unit (ms, s, m, \
             h, d), for example \"90s\" or \"1h30m\"",
            "vdeploy.toml:24:22: `attempts` is 0; it must be from 1 to 100",
            "vdeploy.toml:24:25: unknown key `dleay` in `retry` of [[plans.p.step]]\n  help: did \
             you mean `delay`?",
        ]
    );
}

#[test]
fn a_wrong_change_of_a_plan_says_what_to_write() {
    for (text, expected) in [
        (
            "[[plans.p.step]]\nid = \"smok\"\n",
            "vdeploy.toml:4:6: no step `smok` in the plan\n  help: did you mean `smoke`?",
        ),
        (
            "[[plans.p.step]]\nid = \"own\"\nplugin = \"smoke\"\n",
            "vdeploy.toml:3:1: it is not said where step `own` goes\n  help: write for example \
             after = \"announce\", or before = \"announce\"",
        ),
        (
            "[[plans.p.step]]\nid = \"own\"\nafter = \"smoke\"\n",
            "vdeploy.toml:3:1: step `own` has no `plugin`\n  help: write plugin = \"…\", the name \
             of a [plugins.NAME] or of a built-in plugin",
        ),
        (
            "[[plans.p.step]]\nid = \"smoke\"\nplugin = \"smoke\"\n",
            "vdeploy.toml:4:6: step `smoke` is in the plan already\n  help: write replaces = \
             \"smoke\" to put another plugin there, or leave `plugin` out to change the step's \
             settings",
        ),
        (
            "[[plans.p.step]]\nid = \"own\"\nplugin = \"smoke\"\nbefore = \"restrat\"\n",
            "vdeploy.toml:6:10: no step `restrat` in the plan\n  help: did you mean `restart`?",
        ),
        (
            "[[plans.p.step]]\nid = \"own\"\nplugin = \"smoke\"\nbefore = \"rollback\"\n",
            "vdeploy.toml:6:10: step `rollback` is in another list\n  help: write this entry as \
             [[plans.p.rollback]]",
        ),
        (
            "[[plans.p.step]]\nid = \"smoke-after-rollback\"\nplugin = \"smoke\"\nafter = \
             \"smoke\"\n",
            "vdeploy.toml:3:1: step id `smoke-after-rollback` is used twice\n  help: every step, \
             rollback step and finally step needs an id of its own",
        ),
        (
            "drop = [\"anounce\"]\n",
            "vdeploy.toml:3:9: no step `anounce` in the plan\n  help: did you mean `announce`?",
        ),
        (
            "drop = [\"rollback\", \"smoke-after-rollback\"]\n",
            "vdeploy.toml:1:8: plan `p` rolls back on failure but has no rollback steps\n  help: \
             add [[plans.p.rollback]] steps, the last of which verifies, or write on-failure = \
             \"keep\"",
        ),
        (
            "drop = [\"smoke\"]\n[[plans.p.step]]\nid = \"own\"\nplugin = \"smoke\"\nafter = \
             \"smoke\"\n",
            "vdeploy.toml:7:9: step `smoke` is dropped by this plan",
        ),
        (
            "[[plans.p.step]]\nid = \"own\"\nplugin = \"smoke\"\nafter = \"smoke\"\nbefore = \
             \"smoke\"\n",
            "vdeploy.toml:3:1: [[plans.p.step]] says more than once where the step goes\n  help: \
             write one of `before`, `after` and `replaces`",
        ),
    ] {
        let text = format!("[plans.p]\nextends = \"default\"\n{text}");
        let found = problems(&text);
        assert!(found[0].starts_with(expected), "{found:#?}\n{expected}");
        assert_eq!(found.len(), 1, "{found:#?}");
    }
}

#[test]
fn extends_needs_a_plan_that_is_there_and_no_ring() {
    assert_eq!(
        problems("[plans.p]\nextends = \"defualt\"\n"),
        [
            "vdeploy.toml:2:11: plan `p` extends `defualt`, which does not exist\n  help: did you \
          mean `default`?"
        ]
    );
    assert_eq!(
        problems("[plans.p]\nextends = \"p\"\n"),
        [
            "vdeploy.toml:2:11: plan `p` extends itself\n  help: plans: `default`, \
          `default-ssh`, `restart`, `restart-ssh`, `rollback`, `rollback-ssh`, `smoke`"
        ]
    );
    let ring = problems(
        "[plans.a]\nextends = \"b\"\n[plans.b]\nextends = \"c\"\n[plans.c]\nextends = \"a\"\n",
    );
    assert!(
        ring.contains(
            &"vdeploy.toml:6:11: plans extend each other in a ring: a -> b -> c -> a\n  help: \
              write the steps of one of them out"
                .to_owned()
        ),
        "{ring:#?}"
    );
    assert_eq!(
        problems(&format!(
            "[plans.p]\n{KEEP}drop = [\"x\"]\n[[plans.p.step]]\nid = \"a\"\nplugin = \"smoke\"\n\
             after = \"b\"\n"
        )),
        [
            "vdeploy.toml:3:9: plan `p` extends nothing, so `drop` has no meaning\n  help: add \
             `extends`, or write the steps in the order in which they run",
            "vdeploy.toml:7:9: plan `p` extends nothing, so `after` has no meaning\n  help: add \
             `extends`, or write the steps in the order in which they run",
        ]
    );
    assert_eq!(
        problems(&format!("[plans.p]\n{KEEP}")),
        [
            "vdeploy.toml:1:8: plan `p` has no steps\n  help: add [[plans.p.step]] with `id` and \
          `plugin`"
        ]
    );
}

#[test]
fn the_file_is_found_upwards_and_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(
        dir.path().join("vdeploy.toml"),
        "[targets.x]\ntype = \"local\"\n",
    )
    .unwrap();
    let project = Project::load(None, &deep).unwrap();
    assert_eq!(project.file, Some(dir.path().join("vdeploy.toml")));
    assert_eq!(project.targets.len(), 1);
    let error = Project::load(Some(Path::new("none.toml")), &deep).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("none.toml cannot be read: No such file")
    );
    std::fs::write(deep.join("vdeploy.toml"), "x = 1\n").unwrap();
    let error = Project::load(None, &deep).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("vdeploy.toml:1:1: unknown key `x`")
    );
    let other = Project::load(Some(&dir.path().join("vdeploy.toml")), &deep).unwrap();
    assert_eq!(other.targets.len(), 1);
}

#[test]
fn names_that_are_looked_up_show_the_nearest() {
    let project = Project::builtin().unwrap();
    assert_eq!(
        project.plan(&"defualt".into()).unwrap_err().to_string(),
        "no plan `defualt`\n  help: did you mean `default`?"
    );
    assert_eq!(
        project.plan(&"x".into()).unwrap_err().to_string(),
        "no plan `x`\n  help: plans: `default`, `default-ssh`, `restart`, `restart-ssh`, `rollback`, \
             `rollback-ssh`, `smoke`"
    );
}

/// A built-in plugin is granted what its manifest asks for, and no more.
#[test]
fn built_in_grants_are_the_requests_of_the_manifests() {
    let project = Project::builtin().unwrap();
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    for name in builtin::BUILTIN_PLUGINS {
        let manifest = plugins.join(name).join("plugin.toml");
        let text = std::fs::read_to_string(&manifest).expect("a manifest of each built-in plugin");
        let manifest: toml::Table = text.parse().unwrap();
        let requests = manifest["request"].as_array().unwrap();
        let mut asked: Vec<String> = requests
            .iter()
            .map(|r| {
                let text = |key: &str| r.get(key).and_then(|v| v.as_str()).unwrap_or_default();
                format!("{} {}", text("capability"), text("scope"))
                    .trim()
                    .to_owned()
            })
            .collect();
        let grants = &project.plugin(&name.into()).unwrap().grants;
        let mut given = Vec::new();
        given.extend(grants.ssh.iter().map(|s| format!("ssh {s}")));
        given.extend(grants.http.iter().map(|s| format!("http {s}")));
        given.extend(grants.secrets.iter().map(|s| format!("secrets {s}")));
        given.extend(
            grants
                .secrets_reveal
                .iter()
                .map(|s| format!("secrets-reveal {s}")),
        );
        given.extend(grants.snapshot.iter().map(|s| format!("snapshot {s}")));
        given.extend(grants.state.then(|| "state".to_owned()));
        asked.sort();
        given.sort();
        assert_eq!(given, asked, "plugin {name}");
    }
}

#[test]
fn a_target_without_a_good_type_hides_no_unknown_key() {
    for (kind, first) in [
        ("", "vdeploy.toml:1:10: [targets.x] has no `type`"),
        ("type = \"vrs\"\n", "vdeploy.toml:2:8: `type` is \"vrs\""),
    ] {
        let found = problems(&format!(
            "[targets.x]\n{kind}vm = \"a\"\nhots-key = \"b\"\n"
        ));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with(first), "{found:?}");
        assert!(
            found[1].contains("unknown key `hots-key` in [targets.x]")
                && found[1].contains("did you mean `host-key`?"),
            "{found:?}"
        );
    }
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
