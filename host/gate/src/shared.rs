//! What all gates of one run share: the world, the journal, the snapshot that
//! stands, and whether the run is being stopped.

use super::recorded_calls::{RecordedCall, RecordedCalls};
use super::replay::Replay;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use vdeploy_core::capability::World;
use vdeploy_core::capability::held::Loss;
use vdeploy_core::capability::mask::Masker;
use vdeploy_core::event::RunEvent;
use vdeploy_core::ids::{PluginName, RunId, SnapshotId, StepId, VmId};
use vdeploy_core::target::TargetFacts;
use vdeploy_journal::store::Granted;
use vdeploy_journal::{Entry, Store, StoreError, relocations};

/// So many probe results are written in the background, if no durable entry
/// takes them along before.
const MAX_LATER: usize = 64;
/// With so many the caller writes them itself: calls are then made faster than
/// the disk takes them.
const TOO_MANY_LATER: usize = 4 * MAX_LATER;

/// Why nothing more may be done.
#[derive(Clone, Debug)]
pub struct Broken {
    /// For a person.
    pub message: String,
    /// Whether the run can be gone on with when that is mended.
    pub mendable: bool,
}

/// Shared by every gate of a run.
#[derive(Debug)]
pub struct RunShared {
    /// The run.
    pub run: RunId,
    /// The outside.
    pub world: World,
    /// Hides secret values in everything that is shown or stored.
    pub masker: Arc<Masker>,
    /// Whether no change is made.
    pub dry_run: bool,
    store: Arc<dyn Store>,
    lease: Mutex<Option<Granted>>,
    later: Mutex<Vec<Entry>>,
    /// Held while entries are taken from `later` and written, so that they
    /// are written in order. Locked before `later`.
    writing: Mutex<()>,
    events: UnboundedSender<RunEvent>,
    calls: AtomicU64,
    waited_micros: AtomicU64,
    cancelled: AtomicBool,
    stopped_by: Mutex<Option<&'static str>>,
    finishing: AtomicBool,
    cancel_signal: tokio::sync::Notify,
    snapshot: Mutex<Snapshots>,
    target_changed: AtomicBool,
    broken: Mutex<Option<Broken>>,
    recorded: Mutex<RecordedCalls>,
    /// An earlier process of the run was at work.
    resumed: bool,
    /// While recorded calls are answered: the VM that was the target then.
    as_of: Mutex<Option<VmId>>,
    /// Set when nothing is made and all is answered from a recording.
    pub(super) replay: Option<Replay>,
}

/// What an earlier process of the run has come to.
#[derive(Clone, Debug, Default)]
pub struct ResumePoint {
    /// The number of the last call before the function that was cut off.
    pub calls: u64,
    /// The calls of that function.
    pub recorded: RecordedCalls,
    /// The target was changed, or may have been.
    pub target_changed: bool,
    /// The snapshots of the run.
    pub snapshots: Snapshots,
    /// The rollback or the finally steps have begun: they are not stopped.
    pub finishing: bool,
    /// The VM that was the target when the function began, if it is another
    /// now.
    pub as_of: Option<VmId>,
}

/// What is known of the run's snapshots.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// One stands, or none is needed.
    pub stands: bool,
    /// The rollback point: the first one, taken before the target was changed.
    pub first: Option<SnapshotId>,
    /// Those of the platform.
    pub by_label: BTreeMap<String, SnapshotId>,
    /// Those that a plugin made.
    pub declared: BTreeSet<SnapshotId>,
    /// The step that changed the target to make one that does not stand yet.
    pub owed_by: Option<StepId>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl RunShared {
    /// For one run; `events` receives what happens.
    pub fn new(
        run: RunId,
        world: World,
        masker: Arc<Masker>,
        dry_run: bool,
        store: Arc<dyn Store>,
        events: UnboundedSender<RunEvent>,
    ) -> Self {
        Self {
            run,
            world,
            masker,
            dry_run,
            store,
            lease: Mutex::new(None),
            later: Mutex::default(),
            writing: Mutex::new(()),
            events,
            calls: AtomicU64::new(0),
            waited_micros: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            stopped_by: Mutex::default(),
            finishing: AtomicBool::new(false),
            cancel_signal: tokio::sync::Notify::new(),
            snapshot: Mutex::new(Snapshots::default()),
            target_changed: AtomicBool::new(false),
            broken: Mutex::new(None),
            recorded: Mutex::default(),
            resumed: false,
            as_of: Mutex::default(),
            replay: None,
        }
    }

    /// The run goes on from what an earlier process has come to.
    #[must_use]
    pub fn after(mut self, earlier: ResumePoint) -> Self {
        self.resumed = true;
        self.calls = AtomicU64::new(earlier.calls);
        self.recorded = Mutex::new(earlier.recorded);
        self.target_changed = AtomicBool::new(earlier.target_changed);
        self.snapshot = Mutex::new(earlier.snapshots);
        self.finishing = AtomicBool::new(earlier.finishing);
        self.as_of = Mutex::new(earlier.as_of);
        self
    }

    /// Whether an earlier process of the run was at work.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// What is recorded of the call with this number. Given once.
    pub(super) fn recorded(&self, call: u64) -> Option<RecordedCall> {
        lock(&self.recorded).take(call)
    }

    /// The target as plugins see it: while recorded calls are answered, as it
    /// was then.
    pub fn target(&self) -> TargetFacts {
        match &*lock(&self.as_of) {
            Some(vm) => self.world.target.facts_on(vm),
            None => self.world.target.facts(),
        }
    }

    /// The plugin has got its answer to the restore: it is on the new VM.
    pub(super) fn arrived(&self) {
        *lock(&self.as_of) = None;
    }

    /// From now on journal writes are fenced by this lease.
    pub fn hold_lease(&self, lease: Granted) {
        *lock(&self.lease) = Some(lease);
    }

    /// The lease that journal writes are fenced by.
    pub fn lease(&self) -> Option<Granted> {
        lock(&self.lease).clone()
    }

    /// Sends an event; reports that are gone do no harm to the run.
    pub fn emit(&self, event: RunEvent) {
        // A closed receiver means that nobody watches any more; the run goes on.
        let _ = self.events.send(event);
    }

    /// Appends to the journal, durably, after what `record_later` kept. After a
    /// failure nothing more is done in this run: every later call is refused.
    pub fn record(&self, entry: &Entry) -> Result<(), StoreError> {
        let writing = lock(&self.writing);
        lock(&self.later).push(entry.clone());
        self.write(writing)
    }

    /// Appends the result of a probe soon: with the next durable entry, or in
    /// the background. A crash can lose it, which does no harm: a probe may be
    /// repeated. Needs a tokio runtime.
    pub fn record_later(self: &Arc<Self>, entry: Entry) -> Result<(), StoreError> {
        let mut later = lock(&self.later);
        later.push(entry);
        let waiting = later.len();
        drop(later);
        if waiting >= TOO_MANY_LATER {
            return self.write(lock(&self.writing));
        }
        if waiting.is_multiple_of(MAX_LATER) {
            let shared = self.clone();
            tokio::task::spawn_blocking(move || {
                // A failure closes the gate, and the next call says why.
                let _ = shared.write(lock(&shared.writing));
            });
        }
        Ok(())
    }

    /// Writes what waits. After a failure it goes on waiting.
    fn write(&self, writing: MutexGuard<'_, ()>) -> Result<(), StoreError> {
        let mut entries = std::mem::take(&mut *lock(&self.later));
        if entries.is_empty() {
            return Ok(());
        }
        let lease = lock(&self.lease).clone();
        let written = self.store.append_all(&self.run, lease.as_ref(), &entries);
        if written.is_err() {
            let mut later = lock(&self.later);
            entries.append(&mut later);
            *later = entries;
        }
        drop(writing);
        written.inspect_err(|error| self.store_failed(error))
    }

    /// Closes the gate for good.
    pub fn break_off(&self, message: &str) {
        self.close(message.to_owned(), false);
    }

    /// Closes the gate of this process. Another one may go on with the run when
    /// the cause is mended.
    pub fn break_off_for_now(&self, message: &str) {
        self.close(message.to_owned(), true);
    }

    /// A lease was lost: nothing more is done.
    pub fn lease_lost(&self, how: &Loss) {
        let message = format!("the lease was lost: {}", how.why);
        let message = self.masker.mask(&message).into_owned();
        self.close(message, how.mendable);
    }

    /// Where the run is kept.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The store did not take what it was given: nothing more is done.
    pub fn store_failed(&self, error: &StoreError) {
        match error {
            StoreError::Database { .. } => self.break_off_for_now(&format!(
                "the journal cannot be written, so nothing more is done: {error}"
            )),
            _ => self.break_off(&error.to_string()),
        }
    }

    fn close(&self, message: String, mendable: bool) {
        let mut broken = lock(&self.broken);
        broken.get_or_insert(Broken { message, mendable });
        drop(broken);
        self.cancel_signal.notify_waiters();
    }

    /// Why the gate is closed, if it is.
    pub fn broken(&self) -> Option<Broken> {
        lock(&self.broken).clone()
    }

    /// Asks the run to stop: no new call is made.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.cancel_signal.notify_waiters();
    }

    /// The same, with what asked for it.
    pub fn stop_for(&self, by: &'static str) {
        // Only the first one stops it.
        lock(&self.stopped_by).get_or_insert(by);
        self.cancel();
    }

    /// What has asked the run to stop, if it is known.
    pub fn stopped_by(&self) -> Option<&'static str> {
        *lock(&self.stopped_by)
    }

    /// Opens the gate again, for good, for what follows a stop: the rollback
    /// and the finally steps are not stopped.
    pub fn finish_undisturbed(&self) {
        self.finishing.store(true, Ordering::SeqCst);
    }

    /// Whether the run is being stopped.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst) && !self.finishing.load(Ordering::SeqCst)
    }

    /// Resolves when the run is being stopped or the gate was closed.
    pub async fn stopped(&self) {
        loop {
            let notified = self.cancel_signal.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_cancelled() || self.broken().is_some() {
                return;
            }
            notified.await;
        }
    }

    /// The number of the next call, from 1.
    pub fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A call with this number is made next, unless later ones were already
    /// expected: a process that went on used numbers again.
    pub(super) fn begin_before(&self, first: u64) {
        let before = first.saturating_sub(1);
        self.calls.fetch_min(before, Ordering::SeqCst);
    }

    /// Whether the target may be changed as far as snapshots go.
    pub fn snapshot_stands(&self) -> bool {
        lock(&self.snapshot).stands
    }

    /// A snapshot with this label taken earlier in this run.
    pub fn snapshot_with_label(&self, label: &str) -> Option<SnapshotId> {
        lock(&self.snapshot).by_label.get(label).cloned()
    }

    /// The rollback point: the first snapshot of this run, taken before its
    /// changes.
    pub fn snapshot_taken_id(&self) -> Option<SnapshotId> {
        lock(&self.snapshot).first.clone()
    }

    /// A snapshot was taken by the platform.
    pub fn snapshot_taken(&self, label: &str, id: &SnapshotId) -> Result<(), StoreError> {
        self.snapshot_now_stands(id, None)?;
        let mut snapshot = lock(&self.snapshot);
        snapshot.by_label.insert(label.to_owned(), id.clone());
        Ok(())
    }

    /// A plugin says that a snapshot stands which it made by its own means.
    pub fn snapshot_declared(&self, by: &PluginName, id: &SnapshotId) -> Result<(), StoreError> {
        self.snapshot_now_stands(id, Some(by))?;
        let mut snapshot = lock(&self.snapshot);
        snapshot.declared.insert(id.clone());
        snapshot.owed_by = None;
        Ok(())
    }

    /// Whether a plugin has declared this one in this run.
    pub fn is_declared(&self, id: &SnapshotId) -> bool {
        lock(&self.snapshot).declared.contains(id)
    }

    fn snapshot_now_stands(
        &self,
        id: &SnapshotId,
        provider: Option<&PluginName>,
    ) -> Result<(), StoreError> {
        self.record(&Entry::SnapshotTaken {
            snapshot: id.clone(),
            provider: provider.cloned(),
        })?;
        let before_changes = !self.target_changed();
        let mut snapshot = lock(&self.snapshot);
        snapshot.stands = true;
        if before_changes {
            snapshot.first.get_or_insert_with(|| id.clone());
        }
        drop(snapshot);
        self.emit(RunEvent::SnapshotTaken {
            snapshot: id.clone(),
            provider: provider.cloned(),
            before_changes,
        });
        Ok(())
    }

    /// A step changes the target to make a snapshot by its own means.
    pub(super) fn prepares_snapshot(&self, step: &StepId) {
        lock(&self.snapshot).owed_by = Some(step.clone());
    }

    /// Whether the step did that and has declared none since.
    pub(super) fn snapshot_is_owed(&self, step: &StepId) -> bool {
        lock(&self.snapshot).owed_by.as_ref() == Some(step)
    }

    /// A restore made another VM the target.
    pub fn target_moved(&self, from: Option<VmId>, to: &VmId) -> Result<(), StoreError> {
        self.record(&Entry::TargetMoved {
            from: from.clone(),
            to: to.clone(),
        })?;
        if let Some(from) = &from {
            let target = self.world.target.facts().name;
            if let Err(error) = relocations::record(&*self.store, &target, from, to) {
                self.store_failed(&error);
                return Err(error);
            }
        }
        self.emit(RunEvent::TargetMoved {
            from,
            to: to.clone(),
        });
        Ok(())
    }

    /// The operator goes on without a snapshot, in so many words.
    pub fn waive_snapshot(&self, reason: &str) -> Result<(), StoreError> {
        self.record(&Entry::SnapshotWaived {
            reason: reason.to_owned(),
        })?;
        lock(&self.snapshot).stands = true;
        Ok(())
    }

    /// Sets whether the target was changed, or may have been. Returns what it
    /// was before.
    pub(super) fn set_target_changed(&self, changed: bool) -> bool {
        self.target_changed.swap(changed, Ordering::SeqCst)
    }

    /// A call took this long; the plugin waited for it.
    pub(super) fn has_waited(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// How long the plugins of this run have waited for their calls so far.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::SeqCst))
    }

    /// Whether anything on the target was changed, or may have been.
    pub fn target_changed(&self) -> bool {
        self.target_changed.load(Ordering::SeqCst)
    }
}
