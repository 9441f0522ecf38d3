//! What all gates of one run share, and the facts that several parts of it keep
//! together.

use crate::cancellation::Cancellation;
use crate::journaled::journal_writer::JournalWriter;
use crate::journaled::recorder::Recorder;
use crate::snapshot_state::{SnapshotState, Snapshots};
use crate::source::recorded_calls::RecordedCalls;
use crate::source::replay::ReplaySource;
use crate::source::resume::ResumeSource;
use crate::source::{CallSource, LiveSource};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use vdeploy_core::capability::World;
use vdeploy_core::capability::leases::LeaseLoss;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::event::RunEvent;
use vdeploy_core::ids::{PluginName, RunId, SnapshotId, VmId};
use vdeploy_core::target::TargetFacts;
use vdeploy_journal::{Entry, Store, StoreError, relocations};

#[derive(Debug)]
pub struct RunShared {
    pub run: RunId,
    pub world: World,
    /// Hides secret values in everything that is shown or stored.
    pub masker: Arc<Masker>,
    pub dry_run: bool,
    pub recorder: Recorder,
    pub cancellation: Arc<Cancellation>,
    pub snapshots: SnapshotState,
    pub(super) calls: Arc<dyn CallSource>,
    waited_micros: AtomicU64,
}

/// How far an earlier process of the run came.
#[derive(Clone, Debug, Default)]
pub struct ResumePoint {
    /// The number of the last call before the interrupted function.
    pub calls: u64,
    /// The calls of that function.
    pub recorded: RecordedCalls,
    /// The target was changed, or may have been.
    pub target_changed: bool,
    pub snapshots: Snapshots,
    /// The rollback or the finally steps have begun: they are not stopped.
    pub finishing: bool,
    /// The VM that was the target when the function began, if another one is
    /// now.
    pub as_of: Option<VmId>,
}

impl RunShared {
    /// For a run that begins; `events` receives what happens.
    pub fn new(
        run: RunId,
        world: World,
        masker: Arc<Masker>,
        dry_run: bool,
        store: Arc<dyn Store>,
        events: UnboundedSender<RunEvent>,
    ) -> Self {
        let cancellation = Arc::new(Cancellation::default());
        let journal = JournalWriter::new(run.clone(), store, cancellation.clone());
        Self {
            run,
            world,
            masker,
            dry_run,
            recorder: Recorder::new(Arc::new(journal), events),
            cancellation,
            snapshots: SnapshotState::default(),
            calls: Arc::new(LiveSource::default()),
            waited_micros: AtomicU64::new(0),
        }
    }

    /// For a run that continues from where an earlier process came to.
    #[must_use]
    pub fn resuming(mut self, point: ResumePoint) -> Self {
        self.snapshots = SnapshotState::resumed(point.snapshots, point.target_changed);
        if point.finishing {
            self.cancellation.finish_undisturbed();
        }
        self.calls = Arc::new(ResumeSource::new(point.calls, point.recorded, point.as_of));
        self
    }

    /// For a run that repeats its recording: `replay` answers every call, and
    /// none is made, whatever the world is.
    #[must_use]
    pub fn replaying(mut self, replay: Arc<ReplaySource>) -> Self {
        self.calls = replay;
        self
    }

    /// The target as plugins see it: while recorded calls are answered, as it
    /// was then.
    pub fn target(&self) -> TargetFacts {
        match self.calls.recorded_vm() {
            Some(vm) => self.world.target.facts_on(&vm),
            None => self.world.target.facts(),
        }
    }

    /// A lease was lost: the gate is closed.
    pub fn lease_lost(&self, how: &LeaseLoss) {
        let message = format!("the lease was lost: {}", how.why);
        let message = self.masker.mask(&message).into_owned();
        self.cancellation.close(message, how.mendable);
    }

    /// The platform took a snapshot.
    pub(super) fn snapshot_taken(&self, label: &str, id: &SnapshotId) -> Result<(), StoreError> {
        self.record_snapshot(id, None)?;
        self.snapshots.taken(label, id);
        Ok(())
    }

    /// A plugin declares a snapshot that it made by its own means.
    pub(super) fn snapshot_declared(
        &self,
        by: &PluginName,
        id: &SnapshotId,
    ) -> Result<(), StoreError> {
        self.record_snapshot(id, Some(by))?;
        self.snapshots.declared(id);
        Ok(())
    }

    fn record_snapshot(
        &self,
        id: &SnapshotId,
        provider: Option<&PluginName>,
    ) -> Result<(), StoreError> {
        let entry = Entry::SnapshotTaken {
            snapshot: id.clone(),
            provider: provider.cloned(),
        };
        let event = RunEvent::SnapshotTaken {
            snapshot: id.clone(),
            provider: provider.cloned(),
            before_changes: !self.snapshots.target_changed(),
        };
        self.recorder.record(&entry, event)
    }

    /// The operator continues without a snapshot.
    pub fn waive_snapshot(&self, reason: &str) -> Result<(), StoreError> {
        self.recorder.append(&Entry::SnapshotWaived {
            reason: reason.to_owned(),
        })?;
        self.snapshots.waived();
        Ok(())
    }

    /// A restore made another VM the target.
    pub(super) fn target_moved(&self, from: Option<VmId>, to: &VmId) -> Result<(), StoreError> {
        let entry = Entry::TargetMoved {
            from: from.clone(),
            to: to.clone(),
        };
        self.recorder.append(&entry)?;
        if let Some(from) = &from {
            let target = self.world.target.facts().name;
            let journal = &self.recorder.journal;
            relocations::record(journal.store(), &target, from, to)
                .inspect_err(|error| journal.failed(error))?;
        }
        self.recorder.emit(RunEvent::TargetMoved {
            from,
            to: to.clone(),
        });
        Ok(())
    }

    /// A plugin waited so long for a call.
    pub(super) fn has_waited(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// How long the plugins of this run have waited for their calls so far.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::SeqCst))
    }
}
