//! What an operator gets wrong: each mistake named with its place, and what to
//! write.

use super::*;

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
