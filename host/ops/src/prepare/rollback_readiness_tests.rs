use super::*;

fn project(text: &str) -> Project {
    Project::from_text("vdeploy.toml", text, std::path::Path::new(".")).unwrap()
}

/// What becomes of a run of this plan on a target without snapshots.
fn ask(
    project: &Project,
    plan: &str,
    without: Option<&str>,
    to: RollbackTo,
) -> Result<(Plan, Vec<String>), OpsError> {
    let mut plan = project.plan(&PlanName::from(plan)).unwrap().clone();
    plan.rollback_to = to;
    let question = Question {
        target: &TargetName::from("web"),
        takes_snapshots: false,
        changes: true,
        is_rollback: plan.name.as_str().starts_with("rollback"),
        without,
    };
    let granted = |step: &Step, scope| {
        let plugin = project.plugin(&step.plugin).unwrap();
        plugin.grants.allows_snapshot(scope)
    };
    let notices = settle(&mut plan, &question, granted)?;
    Ok((plan, notices))
}

fn steps(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.id.as_str()).collect()
}

#[test]
fn without_an_archive_and_without_the_word_it_is_refused_and_both_ways_are_named() {
    let project = project("");
    for (plan, lines) in [
        ("default", "[plans.default]\nextends = \"default-ssh\""),
        ("restart", "[plans.restart]\nextends = \"restart-ssh\""),
        ("rollback", "[plans.rollback]\nextends = \"rollback-ssh\""),
    ] {
        let error = ask(&project, plan, None, RollbackTo::InPlace).unwrap_err();
        assert_eq!(error.kind, OpsErrorKind::Refused, "{plan}");
        let text = error.to_string();
        assert!(
            text.contains("`web`") && text.contains("nothing was touched"),
            "{text}"
        );
        assert!(text.contains(lines), "{text}");
        assert!(text.contains("--without-snapshot \"REASON\""), "{text}");
        // What the message says to write is what helps.
        let mended = self::project(lines);
        ask(&mended, plan, None, RollbackTo::InPlace).unwrap();
        ask(&mended, plan, None, RollbackTo::Snapshot).unwrap();
    }
}

#[test]
fn with_the_word_the_snapshot_step_is_left_out_and_only_that() {
    let project = project("");
    for plan in ["default", "default-ssh"] {
        let (plan, notices) = ask(&project, plan, Some("no room"), RollbackTo::InPlace).unwrap();
        let wanted = [
            "preflight",
            "git-pull",
            "npm-build",
            "restart",
            "smoke",
            "announce",
        ];
        assert_eq!(steps(&plan), wanted);
        assert!(notices[0].contains("is left out"), "{notices:?}");
    }
    // The archive of the run that is rolled back can be restored all the same.
    let to = RollbackTo::Snapshot;
    let (plan, _) = ask(&project, "rollback-ssh", Some("no room"), to).unwrap();
    assert_eq!(
        steps(&plan),
        ["restore", "rollback", "smoke-after-rollback"]
    );
}

#[test]
fn a_reason_that_says_nothing_is_none() {
    for reason in ["", "  \t"] {
        let error = ask(
            &project(""),
            "default-ssh",
            Some(reason),
            RollbackTo::InPlace,
        )
        .unwrap_err();
        assert_eq!(error.kind, OpsErrorKind::Usage);
        assert!(error.to_string().contains("needs a reason"), "{error}");
    }
}

#[test]
fn a_way_back_to_a_snapshot_that_cannot_be_is_refused_at_once() {
    let project = project("");
    let to = RollbackTo::Snapshot;
    for (plan, without, says) in [
        ("default-ssh", Some("no room"), "exclude each other"),
        ("default", None, "no step `restore`"),
        ("rollback", None, "no step `restore`"),
    ] {
        let error = ask(&project, plan, without, to).unwrap_err();
        assert_eq!(error.kind, OpsErrorKind::Refused, "{plan}");
        assert!(error.to_string().contains(says), "{error}");
    }
    ask(&project, "default-ssh", None, to).unwrap();
    ask(&project, "rollback-ssh", None, to).unwrap();
}

#[test]
fn where_the_platform_takes_snapshots_nothing_is_asked() {
    let project = project("");
    let mut plan = project.plan(&PlanName::from("default")).unwrap().clone();
    let before = plan.clone();
    let question = Question {
        target: &TargetName::from("infra"),
        takes_snapshots: true,
        changes: true,
        is_rollback: false,
        without: Some("the VM is lost"),
    };
    settle(&mut plan, &question, |_, _| false).unwrap();
    assert_eq!(plan, before);
    let looks = Question {
        takes_snapshots: false,
        changes: false,
        without: None,
        ..question
    };
    settle(&mut plan, &looks, |_, _| false).unwrap();
}
