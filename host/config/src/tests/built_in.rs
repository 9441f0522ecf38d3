//! The project that is built in: its plans, and what its plugins are granted.

use super::*;
use vdeploy_scope::Capability;

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
        for capability in Capability::ALL {
            let scopes = grants.scopes(capability).into_iter();
            given.extend(scopes.map(|scope| format!("{capability} {scope}")));
        }
        given.extend(grants.state.then(|| "state".to_owned()));
        asked.sort();
        given.sort();
        assert_eq!(given, asked, "plugin {name}");
    }
}
