//! The built-in plugins, loaded as a run loads them.

use anyhow::Result;
use std::path::Path;
use std::time::Duration;
use vdeploy_config::Project;
use vdeploy_core::plan::{Plan, Retry, Step};
use vdeploy_ops::prepare::plugins::plugins;
use vdeploy_ops::{Session, SessionOptions};
use vdeploy_run::prepare::Plugins;

/// A session that keeps compiled code in `cache`.
pub fn session(cache: &Path) -> Result<Session> {
    let options = SessionOptions {
        code_cache: Some(cache.to_owned()),
        code_cache_key: Some(cache.join("key")),
        ..SessionOptions::new("/", "/nonexistent")
    };
    Ok(Session::with_project(options, Project::builtin()?))
}

/// Every built-in plugin with the grants of the built-in project.
pub async fn load(session: &Session) -> Result<Plugins> {
    let step = |name: &str| Step {
        id: name.into(),
        plugin: name.into(),
        config: Default::default(),
        timeout: Duration::from_secs(60),
        retry: Retry::default(),
        on_failure: None,
    };
    let plan = Plan {
        steps: vdeploy_builtin::names().map(step).collect(),
        ..session.plan("default")?
    };
    Ok(plugins(session, &plan).await?)
}
