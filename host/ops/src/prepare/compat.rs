//! Checks that the current project is compatible with the recorded run.

use crate::error::OpsError;
use vdeploy_config::Project;
use vdeploy_core::ids::{PluginName, StepId, TargetName};
use vdeploy_journal::store::RunRecord;

/// The target must be in the project, and of a run that is resumed its
/// plugins, too.
pub fn has_what_it_needs(
    project: &Project,
    record: &RunRecord,
    with_plugins: bool,
) -> Result<(), OpsError> {
    let mut missing = Vec::new();
    if !project.targets.contains_key(&record.target) {
        missing.push(format!("the target `{}`", record.target));
    }
    let unknown = |name: &&PluginName| !project.plugins.contains_key(*name);
    if with_plugins {
        let plugins = record.plugins.keys().filter(unknown);
        missing.extend(plugins.map(|name| format!("the plugin `{name}`")));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let here = match &project.file {
        Some(file) => file.display().to_string(),
        None => "the built-in project (there is no vdeploy.toml here)".to_owned(),
    };
    let all = |names: Vec<&str>| names.join(", ");
    Err(OpsError::usage(format!(
        "run {} began with another project file, or with an earlier state of this one: {} is not \
         in {here}, which has the targets {} and the plugins {}",
        record.id,
        missing.join(", "),
        all(project.targets.keys().map(TargetName::as_str).collect()),
        all(project.plugins.keys().map(PluginName::as_str).collect()),
    ))
    .hint("name that file with `--project FILE`, or be in its directory"))
}

/// What a person should know where the plan in the project is not the one that
/// the run began with.
pub fn difference(project: &Project, record: &RunRecord) -> Option<String> {
    let plan = &record.plan;
    let Some(now) = project.plans.get(&plan.name) else {
        return Some(format!(
            "the run goes on as it began: the project has no plan `{}` any more",
            plan.name
        ));
    };
    let mut steps: Vec<&StepId> = Vec::new();
    for step in plan.all_steps() {
        if !now.all_steps().any(|other| other == step) {
            steps.push(&step.id);
        }
    }
    for step in now.all_steps() {
        if !plan.all_steps().any(|other| other.id == step.id) {
            steps.push(&step.id);
        }
    }
    let steps: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    (!steps.is_empty()).then(|| {
        format!(
            "the run goes on as it began: the plan `{}` of the project says something else of {} \
             now, or the run was started with settings of its own",
            plan.name,
            steps.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdeploy_core::ids::Digest;
    use vdeploy_core::plan::Plan;

    fn begun(project: &Project) -> RunRecord {
        let plan: &Plan = project.plan(&"default".into()).unwrap();
        RunRecord::bare("01A", "infra", plan.clone())
    }

    #[test]
    fn a_plan_that_has_changed_since_is_told() {
        let project = Project::builtin().unwrap();
        let mut record = begun(&project);
        assert_eq!(difference(&project, &record), None);
        let smoke = record
            .plan
            .steps
            .iter_mut()
            .find(|s| s.id.as_str() == "smoke");
        let config = &mut smoke.unwrap().config;
        config.insert("stable-seconds".to_owned(), 99.into());
        let told = difference(&project, &record).unwrap();
        assert!(
            told.contains("says something else of `smoke` now"),
            "{told}"
        );
        record.plan.name = "ours".into();
        let told = difference(&project, &record).unwrap();
        assert!(told.contains("no plan `ours` any more"), "{told}");
    }

    #[test]
    fn what_only_another_project_file_has_is_named() {
        let project = Project::builtin().unwrap();
        let mut record = begun(&project);
        has_what_it_needs(&project, &record, true).unwrap();
        record
            .plugins
            .insert("version-check".into(), Digest::new("00"));
        has_what_it_needs(&project, &record, false).unwrap();
        let told = has_what_it_needs(&project, &record, true).unwrap_err();
        let told = told.to_string();
        for said in [
            "the plugin `version-check` is not in the built-in",
            "--project FILE",
        ] {
            assert!(told.contains(said), "{told}");
        }
        record.target = "prod".into();
        let told = has_what_it_needs(&project, &record, false).unwrap_err();
        assert!(
            told.message.contains("the target `prod`"),
            "{}",
            told.message
        );
    }
}
