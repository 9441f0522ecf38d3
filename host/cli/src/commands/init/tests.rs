//! Every kind of file that is written can be read, and says what was asked.

use super::detect::{Detected, Package};
use super::draft::{Draft, More, Target};
use std::path::Path;
use vdeploy_config::{Project, TargetConfig, VmSource};
use vdeploy_core::plan::Plan;

fn draft(target: Target, detected: &Detected) -> Draft<'_> {
    Draft {
        target,
        app_dir: "/srv/my app".to_owned(),
        reference: "v1.4".to_owned(),
        detected,
    }
}

fn read(text: &str) -> Project {
    Project::from_text("vdeploy.toml", text, Path::new("/p"))
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn setting<'p>(plan: &'p Plan, step: &str, key: &str) -> Option<&'p str> {
    let step = plan.all_steps().find(|s| s.id.as_str() == step)?;
    step.config.get(key)?.as_str()
}

fn vers(vm: Option<&str>, vm_env: Option<&str>) -> Target {
    Target::Vers {
        vm: vm.map(str::to_owned),
        vm_env: vm_env.map(str::to_owned),
        more: More::default(),
    }
}

fn another_service() -> Detected {
    Detected {
        remote: Some("https://git.example/team/board.git".to_owned()),
        package: Some(Package {
            name: "board".to_owned(),
            start: Some("node build/main.js".to_owned()),
            builds: true,
        }),
        ..Detected::default()
    }
}

#[test]
fn every_kind_of_target_reads_back_with_its_settings() {
    let local = Target::Local {
        dir: Some("/c d".to_owned()),
        vm: Some("vm-1".to_owned()),
    };
    for detected in [Detected::default(), another_service()] {
        for target in [
            vers(None, None),
            vers(Some("vm-1"), None),
            vers(None, Some("X")),
            local.clone(),
        ] {
            let draft = draft(target.clone(), &detected);
            let project = read(&draft.text());
            let (name, config) = project.target(None).unwrap();
            match (&target, config) {
                (Target::Vers { vm, vm_env, .. }, TargetConfig::Vers(config)) => {
                    assert_eq!(name.as_str(), "infra");
                    match (vm, &config.vm) {
                        (Some(vm), VmSource::Id(id)) => assert_eq!(id.as_str(), vm),
                        (None, VmSource::Env { variable, .. }) => {
                            let wanted = vm_env.as_deref().unwrap_or("VDEPLOY_VM");
                            assert_eq!(variable, wanted);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                (Target::Local { .. }, TargetConfig::Local(config)) => {
                    assert_eq!(config.dir.as_deref(), Some(Path::new("/c d")));
                }
                other => panic!("{other:?}"),
            }
            let plan = project.plan(&"default".into()).unwrap();
            for step in ["preflight", "git-pull", "npm-build"] {
                assert_eq!(setting(plan, step, "app-dir"), Some("/srv/my app"));
            }
            assert_eq!(setting(plan, "git-pull", "ref"), Some("v1.4"));
        }
    }
}

#[test]
fn a_server_gets_an_archive_as_its_snapshot() {
    let target = Target::Ssh {
        host: "db".to_owned(),
        more: More {
            user: Some("deploy".to_owned()),
            url: Some("https://db.example".to_owned()),
            ..More::default()
        },
    };
    for detected in [Detected::default(), another_service()] {
        let project = read(&draft(target.clone(), &detected).text());
        let (_, TargetConfig::Ssh(server)) = project.target(None).unwrap() else {
            panic!("another type")
        };
        assert_eq!(server.host.value, "db");
        assert_eq!(server.user.as_deref(), Some("deploy"));
        let plan = project.plan(&"default".into()).unwrap();
        assert!(plan.steps.iter().any(|s| s.plugin.as_str() == "archive"));
        assert!(plan.rollback.iter().any(|s| s.id.as_str() == "restore"));
    }
}

#[test]
fn another_service_is_not_asked_for_what_it_does_not_have() {
    let detected = another_service();
    let project = read(&draft(vers(None, None), &detected).text());
    let plan = project.plan(&"default".into()).unwrap();
    assert!(plan.all_steps().all(|step| step.id.as_str() != "announce"));
    assert_eq!(
        setting(plan, "restart", "start"),
        Some("node build/main.js")
    );
    assert_eq!(
        setting(plan, "rollback", "start"),
        Some("node build/main.js")
    );
    assert_eq!(setting(plan, "restart", "ready-line"), Some(""));
    assert_eq!(setting(plan, "npm-build", "entry"), Some("build/main.js"));
}

#[test]
fn an_option_that_does_not_fit_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vdeploy.toml");
    let detected = Detected::default();
    let error =
        super::checked(&draft(vers(Some("no id"), None), &detected), false, &file).unwrap_err();
    assert!(error.message.contains("is not a VM id"), "{error}");
    assert!(!file.exists());
}

#[test]
fn the_whole_plan_reads_back_as_the_short_one() {
    let detected = another_service();
    let draft = draft(vers(None, None), &detected);
    let full = super::checked(&draft, true, Path::new("/p/vdeploy.toml")).unwrap();
    assert!(full.contains("source = \"builtin:preflight\""));
    assert!(!full.contains("extends"));
    let (full, short) = (read(&full), read(&draft.text()));
    let name = "default".into();
    assert_eq!(full.plan(&name).unwrap(), short.plan(&name).unwrap());
}

#[test]
fn a_file_that_is_there_stays_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vdeploy.toml");
    super::write(&file, "one", false).unwrap();
    let error = super::write(&file, "two", false).unwrap_err();
    assert!(error.hint.unwrap().contains("--force"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    super::write(&file, "two", true).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
}
