//! Everything that would stop a run, before it begins, each with what to do.
//! Looks only: takes no lease, records no run, writes nothing on the target.
//!
//! First come the host's own checks, each on top of the one before: project,
//! state, plugins, secrets, platform, connection, lease. Then the plan's steps
//! look for themselves, as in a dry run.

mod connect;
mod project;
mod state;
mod steps;

pub use crate::checks::{Check, Diagnosis, Status};

use super::checks::Report;
use super::options::SessionOptions;
use super::overlay::Overlay;
use super::prepare::state_owners;
use super::session::{self, Session};
use super::target::{self, WorldParts};
use std::sync::Arc;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::ids::RunId;
use vdeploy_journal::{Store, relocations};

/// The run that is meant.
#[derive(Clone, Debug)]
pub struct Doctor {
    pub plan: String,
    /// None is the project's only target, or its default.
    pub target: Option<String>,
    /// A branch, tag or commit, in place of what the plan says.
    pub reference: Option<String>,
}

/// Checks everything that a run needs; `on_check` gets each check as it is made.
pub async fn diagnose(
    options: &SessionOptions,
    doctor: &Doctor,
    on_check: impl FnMut(&Check) + Send,
) -> Diagnosis {
    let mut report = Report::new(on_check);
    examine(options, doctor, &mut report).await;
    report.finish()
}

/// Each check needs what the ones before it found; what cannot be checked is
/// told by [`Report::finish`].
async fn examine(options: &SessionOptions, doctor: &Doctor, report: &mut Report<'_>) {
    if let Err(error) = session::check_state_dir(options) {
        return report.error("state directory", &error);
    }
    let project = project::read(options, report);
    let below = state::check(options, report).await;
    let Some(project) = project else { return };
    let session = Session::with_project(options.clone(), project);
    let Some(planned) = project::plan(session.project(), doctor, report) else {
        return;
    };
    let (target_name, target) = (planned.target, planned.config);
    let prepared = project::plugins(&session, planned.plan, doctor, report).await;
    if let Some(prepared) = &prepared {
        project::rollback_readiness(prepared, &target_name, target, report);
    }
    let plan = prepared.as_ref().map(|prepared| &prepared.plan);
    let fetched = project::secrets(&session, plan, &target_name, target, report).await;
    let Some((secrets, missing)) = fetched else {
        return;
    };
    let masker = Masker::new(secrets.values()).unwrap_or_else(|_| Masker::none());
    report.mask(masker.clone());
    if let Some(prepared) = &prepared {
        project::in_config(session.project(), prepared, target, &secrets, report);
    }
    let resolved = match target::resolve(&session, target, &secrets).await {
        Ok(resolved) => resolved,
        Err(error) => return report.error("VM", &error),
    };
    let store = match Overlay::over(below) {
        Ok(overlay) => Arc::new(overlay),
        Err(error) => return report.error("state directory", &error.into()),
    };
    let named = resolved.vm();
    let named = named.as_ref();
    let moved = named.map(|vm| relocations::current_vm(&*store, &target_name, vm));
    let vm = match moved.transpose() {
        Ok(vm) => vm,
        Err(error) => return report.error("VM", &error.into()),
    };
    if resolved.check(vm.as_ref(), report).await.is_none() {
        return;
    }
    let address = match resolved.address(&target_name, &*store) {
        Ok(address) => address,
        Err(error) => return report.error("VM", &error.into()),
    };
    let run = RunId::generate();
    let world = resolved.world(WorldParts {
        target: target_name.clone(),
        vm,
        run: run.clone(),
        secrets,
        store: store.clone(),
    });
    let mut world = match world {
        Ok(world) => world,
        Err(error) => return report.error("connection", &error),
    };
    world.state = state_owners::state(session.project(), address, store.clone());
    let reached = connect::check(&world, &store, report).await;
    let holder = store.lease_holder(&target_name);
    connect::lease(&world, reached, holder, report).await;
    if let Some(secret) = missing.first() {
        report.skip_all(&["steps"], &format!("the secret `{secret}` is missing"));
    }
    if let Some(prepared) = prepared
        && reached
        && missing.is_empty()
    {
        let actor = &options.actor;
        steps::check(prepared, &world, masker, store, (run, actor), report).await;
    }
    world.ssh.close().await;
}
