//! What is written down: project file, plan, plugins with their grants, the
//! steps' configuration, secrets.

use super::Doctor;
use crate::checks::Report;
use crate::error::OpsErrorKind;
use crate::options::SessionOptions;
use crate::prepare::{
    plugins as loading, rollback_readiness as readiness, secrets_in_config, takes_ref,
    unverified_probes,
};
use crate::session::{self, Session};
use vdeploy_config::{ConfigError, Overrides, Project, SecretNeeds, TargetConfig};
use vdeploy_core::capability::secrets::{LoadedSecrets, SecretValue, Secrets as _};
use vdeploy_core::ids::{PlanName, TargetName};
use vdeploy_core::plan::{Plan, Step};
use vdeploy_run::prepare::{self, Configs, Plugins};

/// The plan and where it is to run.
pub struct Planned<'p> {
    pub plan: Plan,
    pub target: TargetName,
    pub config: &'p TargetConfig,
}

/// The plan with all it needs from this machine.
pub struct Prepared {
    pub plan: Plan,
    pub plugins: Plugins,
    pub configs: Configs,
}

/// Reads the project file.
pub fn read(options: &SessionOptions, report: &mut Report<'_>) -> Option<Project> {
    match session::read_project(options) {
        Ok(project) => {
            match &project.file {
                Some(file) => report.pass("project file", file.display().to_string()),
                None => report.warn(
                    "project file",
                    "there is no vdeploy.toml here or above: the built-in project is used",
                    "vdeploy init",
                ),
            }
            Some(project)
        }
        Err(error) => {
            problems("project file", &error, report);
            None
        }
    }
}

/// Each problem is a check of its own.
fn problems(name: &str, error: &ConfigError, report: &mut Report<'_>) {
    for problem in &error.problems {
        let place = problem.place.as_ref();
        let place = place.map_or(String::new(), |place| format!("{place}: "));
        let fix = problem.help.clone().unwrap_or_default();
        let detail = format!("{place}{}", problem.message);
        report.fail(name, OpsErrorKind::Usage, detail, fix);
    }
}

/// Finds the plan and the target.
pub fn plan<'p>(
    project: &'p Project,
    doctor: &Doctor,
    report: &mut Report<'_>,
) -> Option<Planned<'p>> {
    let plan = match project.plan(&PlanName::from(doctor.plan.as_str())) {
        Ok(plan) => {
            let steps: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
            report.pass("plan", format!("{}: {}", plan.name, steps.join(", ")));
            Some(plan.clone())
        }
        Err(error) => {
            problems("plan", &error, report);
            None
        }
    };
    let name = doctor.target.as_deref().map(TargetName::from);
    match project.target(name.as_ref()) {
        Ok((name, config)) => {
            report.pass("target", name.to_string());
            Some(Planned {
                plan: plan?,
                target: name.clone(),
                config,
            })
        }
        Err(error) => {
            problems("target", &error, report);
            None
        }
    }
}

/// Loads the plugins and completes the steps' configuration.
pub async fn plugins(
    session: &Session,
    mut plan: Plan,
    doctor: &Doctor,
    report: &mut Report<'_>,
) -> Option<Prepared> {
    let project = session.project();
    let plugins = match loading::plugins(session, &plan).await {
        Ok(plugins) => plugins,
        Err(error) => {
            // A grant to add stands in paragraphs of its own.
            let (detail, fix) = error
                .message
                .split_once("add to the project file:")
                .map(|(what, lines)| (what, format!("add to the project file:{lines}")))
                .unwrap_or((error.message.as_str(), String::new()));
            let fix = error.hint.clone().unwrap_or(fix);
            report.fail("plugins", error.kind, detail.trim_end(), fix);
            return None;
        }
    };
    report.pass(
        "plugins",
        format!("{} loaded, every import granted", plugins.len()),
    );
    for plugin in unverified_probes::of_plan(project, &plan, &plugins) {
        report.warn(
            &format!("probes of `{}`", plugin.plugin),
            plugin.warning(),
            "read the plugin and pin it with `digest`, or grant exact commands instead",
        );
    }
    let mut overrides = Overrides::default();
    if let Some(reference) = &doctor.reference {
        let takes_ref = |step: &Step| takes_ref(&plugins, step);
        if let Err(error) =
            vdeploy_config::apply_ref(&mut plan, reference, &mut overrides, takes_ref)
        {
            problems("configuration", &error, report);
            return None;
        }
    }
    match prepare::configs(&plan, &plugins, false) {
        Ok(configs) => {
            report.pass("configuration", format!("of {} steps", configs.len()));
            Some(Prepared {
                plan,
                plugins,
                configs,
            })
        }
        Err(found) => {
            for error in found {
                let error = loading::problem(error, |step, pointer| {
                    project.origin_of(&plan.name, step, pointer, &overrides)
                });
                report.error("configuration", &error);
            }
            None
        }
    }
}

/// Whether a run could go back: by the platform's snapshots, or by one that a
/// step of the plan makes.
pub fn rollback_readiness(
    prepared: &Prepared,
    target_name: &TargetName,
    target: &TargetConfig,
    report: &mut Report<'_>,
) {
    let Prepared { plan, plugins, .. } = prepared;
    let question = readiness::Question {
        target: target_name,
        takes_snapshots: target.kind().takes_snapshots(),
        changes: !prepare::traits(plan, plugins, false).may_change.is_empty(),
        is_rollback: false,
        without: None,
    };
    let granted = |step: &Step, scope| {
        let plugin = plugins.get(&step.plugin);
        plugin.is_some_and(|plugin| plugin.grants.allows_snapshot(scope))
    };
    match readiness::settle(&mut plan.clone(), &question, granted) {
        Ok(_) if !question.changes => report.pass("rollback point", "the plan changes nothing"),
        Ok(_) if question.takes_snapshots => {
            report.pass("rollback point", "the platform takes snapshots")
        }
        Ok(_) => report.pass("rollback point", "the plan keeps an archive"),
        Err(error) => report.error("rollback point", &error),
    }
}

/// Whether a secret's value stands in the configuration, which is stored.
pub fn in_config(
    project: &Project,
    prepared: &Prepared,
    target: &TargetConfig,
    secrets: &LoadedSecrets,
    report: &mut Report<'_>,
) {
    let written = secrets_in_config::Written {
        project,
        plan: &prepared.plan,
        configs: &prepared.configs,
        target,
        set: &[],
        without_snapshot: None,
    };
    match secrets_in_config::check(&written, secrets) {
        Ok(warnings) => {
            for warning in warnings {
                let fix = "give the secret a long random value";
                report.warn("values of secrets", warning, fix);
            }
        }
        Err(error) => report.error("values of secrets", &error),
    }
}

/// Fetches what the plan and the target need, each by itself, so that one that
/// is missing hides nothing. None when the target's own is missing; else the
/// names of the plan's that are.
pub async fn secrets(
    session: &Session,
    plan: Option<&Plan>,
    target_name: &TargetName,
    target: &TargetConfig,
    report: &mut Report<'_>,
) -> Option<(LoadedSecrets, Vec<String>)> {
    let project = session.project();
    let of_target: Vec<String> = target
        .kind()
        .secrets()
        .into_iter()
        .map(|s| s.value.clone())
        .collect();
    let mut needs = SecretNeeds::default();
    match plan {
        Some(plan) => needs = SecretNeeds::of_run(project, plan, target_name, target),
        None => {
            for name in &of_target {
                needs.add(name, format!("target `{target_name}`"));
            }
        }
    }
    let (mut values, mut missing) = (Vec::<(String, SecretValue)>::new(), Vec::new());
    for (name, needed_by) in needs.0 {
        let title = format!("secret `{name}`");
        let mut one = SecretNeeds::default();
        one.0.insert(name.clone(), needed_by);
        match session.secrets(&one).await {
            Ok(loaded) => {
                if let Ok(secret) = loaded.get(&name) {
                    values.push((name.clone(), secret.value));
                }
                let from = project.secrets.get(&name);
                report.pass(
                    &title,
                    from.map_or(String::new(), |from| format!("from {from}")),
                );
            }
            Err(errors) => {
                for error in errors {
                    let detail = format!(
                        "{}, needed by {}: {}",
                        error.from,
                        error.needed_by.join(", "),
                        error.problem
                    );
                    report.fail(&title, OpsErrorKind::Refused, detail, error.help);
                }
                missing.push(name);
            }
        }
    }
    match of_target.iter().any(|name| missing.contains(name)) {
        true => None,
        false => Some((LoadedSecrets::new(values), missing)),
    }
}
