//! `snapshot.create`, `restore`, `exists`, `pause-old` and `declare` through the
//! gate.

use crate::call::pass::{CallContext, CallResult, Gate, denied, in_doubt};
use crate::call::{Call, Effect, WhenInDoubt};
use serde_json::{Value, json};
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::function::HostFunction;
use vdeploy_core::capability::snapshot::{Progress, check_declared};
use vdeploy_core::codes;
use vdeploy_core::event::{Level, RunEvent};
use vdeploy_core::ids::{SnapshotId, VmId};
use vdeploy_scope::Grants;
use vdeploy_scope::SnapshotScope;

impl Gate {
    /// Takes a snapshot of the target. The same label in the same run answers
    /// with the first snapshot.
    pub async fn snapshot_create(&self, label: &str) -> Result<SnapshotId, EffectError> {
        let known = self.shared.snapshots.with_label(label);
        let call = self.snapshot_call(
            HostFunction::SnapshotCreate,
            format!("snapshot create {label}"),
            json!({ "label": label }),
            match known {
                Some(_) => Effect::Probe,
                None => Effect::TakeSnapshot,
            },
            SnapshotScope::Create,
        );
        let pretend = || Ok(SnapshotId::from("dry-run"));
        self.pass(call, pretend, async |context: CallContext| {
            if let Some(id) = known {
                return Ok(CallResult {
                    journal: json!({ "snapshot": id }),
                    value: id,
                });
            }
            let snapshots = &self.shared.world.snapshot;
            // A label is of this run alone. The earlier process may have asked
            // without a trace where the end of its journal was lost: one look.
            let looked_for = self.shared.calls.has_predecessor().then_some(0);
            let made = match context.asked_before.or(looked_for) {
                Some(since) => snapshots.created(label, since, self).await?,
                None => None,
            };
            let id = match made {
                Some(id) => id,
                None => snapshots.create(label, self).await?,
            };
            self.shared.snapshot_taken(label, &id).map_err(in_doubt)?;
            Ok(CallResult {
                journal: json!({ "snapshot": id }),
                value: id,
            })
        })
        .await
    }

    /// Restores to a new VM, which is the run's target from then on.
    pub async fn snapshot_restore(&self, id: &SnapshotId) -> Result<VmId, EffectError> {
        let call = self.snapshot_call(
            HostFunction::SnapshotRestore,
            format!("snapshot restore {id}"),
            json!({ "snapshot": id }),
            Effect::ChangeTarget,
            SnapshotScope::Restore,
        );
        let pretend = || Ok(VmId::from("dry-run"));
        let restored = self.pass(call, pretend, async |context: CallContext| {
            let from = self.shared.world.target.facts().vm;
            let snapshots = &self.shared.world.snapshot;
            let made = match context.asked_before {
                Some(since) => snapshots.restored(id, since, self).await?,
                None => None,
            };
            let to = match made {
                Some(vm) => vm,
                None => {
                    self.may_restore(id).await?;
                    snapshots.restore(id, self).await?
                }
            };
            self.shared.target_moved(from, &to).map_err(in_doubt)?;
            Ok(CallResult {
                journal: json!({ "vm": to }),
                value: to,
            })
        });
        let vm = restored.await?;
        self.shared.calls.restored();
        Ok(vm)
    }

    /// Whether the platform knows the snapshot.
    pub async fn snapshot_exists(&self, id: &SnapshotId) -> Result<bool, EffectError> {
        let call = self.snapshot_call(
            HostFunction::SnapshotExists,
            format!("snapshot exists {id}"),
            json!({ "snapshot": id }),
            Effect::Probe,
            SnapshotScope::Restore,
        );
        self.pass(
            call,
            || Ok(false),
            async |_| {
                let known = self.shared.world.snapshot.exists(id).await?;
                Ok(CallResult {
                    value: known,
                    journal: Value::from(known),
                })
            },
        )
        .await
    }

    /// Pauses a VM that a restore of this run, or of the run that it rolls back,
    /// has left.
    pub async fn snapshot_pause_old(&self, vm: &VmId) -> Result<(), EffectError> {
        let mut call = self.snapshot_call(
            HostFunction::SnapshotPauseOld,
            format!("pause the old VM {vm}"),
            json!({ "vm": vm }),
            Effect::ChangeTarget,
            SnapshotScope::Restore,
        );
        if self.shared.calls.reaches_the_world() {
            call.grant = call.grant.and_then(|()| self.may_pause(vm));
        }
        self.pass(
            call,
            || Ok(()),
            async |_| {
                self.shared.world.snapshot.pause_old(vm).await?;
                Ok(CallResult {
                    value: (),
                    journal: Value::Null,
                })
            },
        )
        .await
    }

    /// Takes the plugin's word that a snapshot stands which it made by its own
    /// means. Saying it twice is saying it once.
    pub async fn snapshot_declare(&self, id: &SnapshotId, label: &str) -> Result<(), EffectError> {
        let known = self.shared.snapshots.is_declared(id);
        let mut call = self.snapshot_call(
            HostFunction::SnapshotDeclare,
            format!("snapshot declare {id}"),
            json!({ "snapshot": id, "label": label }),
            match known {
                true => Effect::Probe,
                false => Effect::TakeSnapshot,
            },
            SnapshotScope::SelfManaged,
        );
        call.grant = call.grant.and_then(|()| check_declared(id.as_str(), label));
        self.pass(
            call,
            || Ok(()),
            async |_| {
                if !known {
                    let declared = self.shared.snapshot_declared(&self.plugin, id);
                    declared.map_err(in_doubt)?;
                }
                Ok(CallResult {
                    value: (),
                    journal: json!({ "snapshot": id }),
                })
            },
        )
        .await
    }

    fn snapshot_call(
        &self,
        function: HostFunction,
        action: String,
        request: Value,
        effect: Effect,
        scope: SnapshotScope,
    ) -> Call {
        let grant = if self.grants.allows_snapshot(scope) {
            Ok(())
        } else {
            Err(denied(
                codes::SNAPSHOT_DENIED,
                &format!("`{function}`"),
                &Grants::line_to_add("snapshot", &self.plugin, &[scope.to_string()]),
            ))
        };
        Call {
            function,
            action,
            request,
            effect,
            grant,
            quiet: false,
            lasting: false,
            in_doubt: WhenInDoubt::Retry,
        }
    }
}

impl Progress for Gate {
    fn doing(&self, text: &str) {
        self.shared.recorder.emit(RunEvent::Doing {
            text: self.shared.masker.mask(text).into_owned(),
        });
    }

    fn warn(&self, text: &str) {
        self.shared.recorder.emit(RunEvent::Log {
            step: Some(self.step.clone()),
            level: Level::Warn,
            message: self.shared.masker.mask(text).into_owned(),
        });
    }
}
