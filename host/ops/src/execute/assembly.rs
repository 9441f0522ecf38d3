//! The parts of one run, and what is made of them to execute, preview or replay
//! its plan. Nothing else makes an [`Execution`].

use crate::operation::rollback::Outputs;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use vdeploy_core::actor::Actor;
use vdeploy_core::capability::World;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::event::RunEvent;
use vdeploy_core::ids::{RunId, TargetName};
use vdeploy_core::plan::Plan;
use vdeploy_gate::RunShared;
use vdeploy_journal::Store;
use vdeploy_journal::store::RunRecord;
use vdeploy_run::prepare::{self, Configs, Plugins};
use vdeploy_run::{Execution, ResumeState};

/// Everything a run needs.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub run: RunId,
    pub target: TargetName,
    pub plan: Plan,
    pub plugins: Plugins,
    pub configs: Configs,
    pub world: World,
    pub masker: Arc<Masker>,
    pub store: Arc<dyn Store>,
    pub dry_run: bool,
    /// The run that is rolled back, and what its steps returned.
    pub rolled_back: Option<(RunId, Outputs)>,
    /// How far an earlier process of the run came.
    pub resume_state: Option<ResumeState>,
}

impl Assembly {
    /// What the store keeps of a run that begins now.
    pub fn record(&self, actor: &Actor) -> RunRecord {
        RunRecord {
            id: self.run.clone(),
            plan: self.plan.clone(),
            configs: self.configs.clone(),
            target: self.target.clone(),
            vm: self.world.target.facts().vm.map(|vm| vm.to_string()),
            url: self.world.target.url_template().map(str::to_owned),
            plugins: self
                .plugins
                .iter()
                .map(|(name, plugin)| (name.clone(), plugin.description.digest.clone()))
                .collect(),
            rolls_back: self.rolled_back.as_ref().map(|(run, _)| run.clone()),
            started_by: actor.name.clone(),
            started_at: self.world.clock.now_unix_ms(),
            host_version: env!("CARGO_PKG_VERSION").to_owned(),
            dry_run: self.dry_run,
        }
    }

    /// What the gates of the run share.
    pub fn shared(&self, events: UnboundedSender<RunEvent>) -> RunShared {
        let shared = RunShared::new(
            self.run.clone(),
            self.world.clone(),
            self.masker.clone(),
            self.dry_run,
            self.store.clone(),
            events,
        );
        match &self.resume_state {
            Some(state) => shared.resuming(state.gate.clone()),
            None => shared,
        }
    }

    /// The plan over these gates.
    pub fn execution(self, shared: Arc<RunShared>) -> Execution {
        let is_rollback = self.rolled_back.is_some();
        let (rolled_back_run, rolls_back) = self.rolled_back.unzip();
        Execution {
            traits: prepare::traits(&self.plan, &self.plugins, is_rollback),
            plan: self.plan,
            plugins: self.plugins,
            configs: self.configs,
            shared,
            rolls_back: rolls_back.map(Arc::new),
            rolled_back_run,
            resume_state: self.resume_state.unwrap_or_default(),
        }
    }
}
