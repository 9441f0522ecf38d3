//! `vdeploy doctor`: everything that would stop a run, before it begins, each
//! with what to do. Looks only: takes no lease, records no run, writes nothing
//! on the target.
//!
//! First come the host's own checks, each on top of the one before: project,
//! state, plugins, secrets, platform, connection, lease. Then the plan's steps
//! look for themselves, as in a dry run.

#[path = "report.rs"]
mod checkup;
mod overlay;
mod platform;
mod project;
#[path = "connect.rs"]
mod reach;
#[path = "../../cli/doctor/render.rs"]
mod show;
mod state;
mod steps;

use super::Global;
use super::error::CliError;
use super::exit::ExitCode;
use super::typed::Typed;
use super::{owners, registry, world};
use crate::capability::World;
use crate::capability::mask::Masker;
use crate::ids::RunId;
use crate::journal::{Store as _, moves};
use checkup::Checkup;
use clap::Args;
pub(super) use overlay::Overlay;
use show::Show;
use std::sync::Arc;

/// What to type.
const EXAMPLES: &str = "Examples:
  vdeploy doctor                              would `vdeploy run` go through?
  vdeploy doctor --target staging --ref v1.4  the same for another target and version
  vdeploy doctor --plan smoke                 only what this plan needs
  vdeploy doctor --json | jq 'select(.status == \"failed\")'";

/// Arguments of `vdeploy doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// The plan that is to be run [default: default]
    #[arg(long, short, default_value = "default", hide_default_value = true)]
    pub plan: String,
    /// The target [default: the only one, or `default-target` of the project]
    #[arg(long, short)]
    pub target: Option<String>,
    /// What is to be deployed: a branch, tag or full commit id [default: as
    /// the plan says, `main`]
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// One JSON object a line on stdout: a check each, and the end
    #[arg(long)]
    pub json: bool,
}

/// Looks at everything; the exit code is the one that a run would get.
pub async fn main(global: &Global, args: DoctorArgs) -> Result<ExitCode, CliError> {
    let show = Show::new(args.json, global.verbose);
    let mut up = Checkup::new(show).with(Typed::of(global));
    examine(global, &args, &mut up).await;
    Ok(up.finish())
}

/// Each look needs what the ones before it found; what cannot be looked at is
/// said by [`Checkup::finish`].
async fn examine(global: &Global, args: &DoctorArgs, up: &mut Checkup) {
    let state_dir = match super::session::state_dir(global) {
        Ok(dir) => dir,
        Err(error) => return up.error("state directory", &error),
    };
    let Some(project) = project::read(global, up) else {
        state::look(&state_dir, up).await;
        return;
    };
    let below = state::look(&state_dir, up).await;
    let Some(planned) = project::plan(&project, args, up) else {
        return;
    };
    let (target_name, target) = (planned.target, planned.config);
    let prepared = project::plugins(&project, planned.plan, args, &state_dir, up).await;
    if let Some(prepared) = &prepared {
        project::way_back(prepared, &target_name, target, up);
    }
    let plan = prepared.as_ref().map(|prepared| &prepared.plan);
    let Some((secrets, missing)) = project::secrets(&project, plan, &target_name, target, up).await
    else {
        return;
    };
    let masker = Masker::new(secrets.values()).unwrap_or_else(|_| Masker::none());
    up.mask(masker.clone());
    if let Some(prepared) = &prepared {
        project::in_config(&project, prepared, target, &secrets, up);
    }
    let target = match registry::settled(target, &secrets).await {
        Ok((target, _)) => target,
        Err(error) => return up.error("VM", &error),
    };
    let route = match world::route(&project, &target, &secrets, &state_dir) {
        Ok(route) => route,
        Err(error) => return up.error("VM", &error),
    };
    let store = match Overlay::over(below) {
        Ok(overlay) => Arc::new(overlay),
        Err(error) => return up.error("state directory", &error.into()),
    };
    let named = route.vm();
    let moved = named.map(|vm| moves::current_vm(&*store, &target_name, vm));
    let vm = match moved.transpose() {
        Ok(vm) => vm,
        Err(error) => return up.error("VM", &error.into()),
    };
    // A server has no platform that could be asked.
    if let (world::Route::Vers(route), Some(vm)) = (&route, &vm)
        && platform::look(route, vm, up).await.is_none()
    {
        return;
    }
    let run = RunId::generate();
    let place = match owners::place(&route, &target_name, &*store) {
        Ok(place) => place,
        Err(error) => return up.error("VM", &error.into()),
    };
    let built = world::build(
        route,
        target_name.clone(),
        vm,
        run.clone(),
        secrets,
        store.clone(),
    );
    let world = match built {
        Ok(world) => World {
            state: owners::state(&project, place, store.clone()),
            ..world
        },
        Err(error) => return up.error("connection", &error),
    };
    let reached = reach::connect(&world, &store, up).await;
    let store_holder = store.lease_holder(&target_name);
    reach::lease(&world, reached, store_holder, up).await;
    if let Some(secret) = missing.first() {
        up.skip_all(&["steps"], &format!("the secret `{secret}` is missing"));
    }
    if let Some(prepared) = prepared
        && reached
        && missing.is_empty()
    {
        steps::look(prepared, world.clone(), masker, store, run, up).await;
    }
    world.ssh.close().await;
}
