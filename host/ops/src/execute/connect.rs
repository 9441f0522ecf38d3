//! Connects to the target, and takes the lease on it.

use super::wake;
use crate::lease::on_target::{self, OnTarget};
use crate::prepare::Prepared;
use std::sync::Arc;
use vdeploy_core::codes;
use vdeploy_core::event::{Level, Outcome, RunEvent};
use vdeploy_core::ids::RunId;
use vdeploy_core::plan::RollbackTo;
use vdeploy_gate::RunShared;
use vdeploy_lease::renew::Absence;
use vdeploy_lease::target::Claim;
use vdeploy_lease::wait::Wait;
use vdeploy_run::prepare;
use vdeploy_wasm::Plugin;

/// How the target was found.
pub(super) enum Reached {
    /// It answers, or the plan does not need it to.
    There(Option<OnTarget>),
    /// It does not answer, and the plan leaves it for a snapshot.
    Lost(Option<OnTarget>),
    /// It knows more of the run that is resumed than the journal, in these words.
    Ahead(String),
}

/// What to do when the VM that is to be left is lost.
const LOST: &str = "its broken state cannot be kept as a snapshot; if it is lost for good, go on \
                    without: add `--without-snapshot \"the VM is lost\"`";

impl Prepared {
    /// Connects and takes the lease there, where a plugin of the plan will run
    /// commands. A rollback to a snapshot needs neither.
    pub(super) async fn connect(
        &self,
        shared: &Arc<RunShared>,
        wait: &mut Wait,
    ) -> Result<Reached, (Outcome, String)> {
        let Self {
            assembly, origin, ..
        } = self;
        let uses_ssh = |plugin: &Plugin| plugin.description.interfaces.iter().any(|i| i == "ssh");
        if !assembly.plugins.values().any(uses_ssh) {
            return Ok(Reached::There(None));
        }
        // A snapshot that a plugin made is put back on the target itself, which must
        // be there for it.
        let on_new_vm = assembly.world.target.facts().vm.is_some();
        let restores = assembly.plan.rollback_to == RollbackTo::Snapshot && on_new_vm;
        let claim = Claim {
            ssh: assembly.world.ssh.clone(),
            target: assembly.world.target.clone(),
            run: assembly.run.clone(),
            who: self.actor.clone(),
            ttl: self.lease_times.on_target,
            absence: match restores {
                true => Absence::Tolerated,
                false => Absence::Loses,
            },
        };
        shared.recorder.emit(RunEvent::Doing {
            text: "connecting to the target".to_owned(),
        });
        let connected = tokio::select! {
            connected = assembly.world.ssh.connect() => connected,
            () = shared.cancellation.stopped() => return Ok(Reached::There(None)),
        };
        let traits = prepare::traits(
            &assembly.plan,
            &assembly.plugins,
            origin.rolls_back().is_some(),
        );
        let may_change = !assembly.dry_run && !traits.may_change.is_empty();
        let connected = match connected {
            Ok(()) => Ok(()),
            Err(error) => tokio::select! {
                woken = wake::or_why(shared, may_change, error) => woken,
                () = shared.cancellation.stopped() => return Ok(Reached::There(None)),
            },
        };
        // Before the lease there is taken: that of the process which was interrupted
        // tells the next run what to end.
        if let (Ok(()), Some(resumed)) = (&connected, origin.resumed()) {
            match resumed.lost_end(&*assembly.world.ssh).await {
                Ok(None) => {}
                Ok(Some(why)) => return Ok(Reached::Ahead(why)),
                Err(error) => return Err((Outcome::Unreachable, error.to_string())),
            }
        }
        let takes_over = |holder: &RunId| self.takes_over(holder);
        let may_be_away = restores && origin.rolls_back().is_some();
        let why = match connected {
            Err(error) if !may_be_away || error.code == codes::SSH_HOST_KEY => {
                return Err((Outcome::Unreachable, error.to_string()));
            }
            Err(error) => error.to_string(),
            Ok(()) if assembly.dry_run => {
                on_target::preview(&claim, shared).await;
                return Ok(Reached::There(None));
            }
            Ok(()) => match on_target::take(&claim, shared, wait, &takes_over).await {
                Ok(lease) => {
                    let resumed = origin.resumed();
                    let by = lease.changed_by();
                    return match resumed.and_then(|resumed| resumed.overtaken(by.as_ref()?)) {
                        None => Ok(Reached::There(Some(lease))),
                        Some(why) => {
                            lease.end().await;
                            Ok(Reached::Ahead(why))
                        }
                    };
                }
                Err((outcome @ (Outcome::Held | Outcome::Interrupted), why)) => {
                    return Err((outcome, why));
                }
                Err((_, why)) if may_be_away => why,
                Err(refused) => return Err(refused),
            },
        };
        if origin.without_snapshot().is_none() {
            return Err((Outcome::Unreachable, format!("{why}\n{LOST}")));
        }
        shared.recorder.emit(RunEvent::Log {
            step: None,
            level: Level::Warn,
            message: format!("the target cannot be used ({why}); going on to the snapshot"),
        });
        let lease = (!assembly.dry_run).then(|| on_target::after_a_move(claim, shared));
        Ok(Reached::Lost(lease))
    }
}
