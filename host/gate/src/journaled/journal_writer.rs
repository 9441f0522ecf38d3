//! Appends to the journal of one run, in order and fenced by its lease. A failed
//! write closes the gate.

use crate::cancellation::Cancellation;
use std::sync::{Arc, Mutex, MutexGuard};
use vdeploy_core::ids::RunId;
use vdeploy_journal::store::Granted;
use vdeploy_journal::{Entry, Store, StoreError};

/// So many pending entries are written in the background, unless a durable entry
/// takes them along before.
const BATCH: usize = 64;
/// With so many pending entries the caller writes them itself: calls come faster
/// than the disk takes them.
const MAX_PENDING: usize = 4 * BATCH;

#[derive(Debug)]
pub struct JournalWriter {
    run: RunId,
    store: Arc<dyn Store>,
    cancellation: Arc<Cancellation>,
    lease: Mutex<Option<Granted>>,
    pending: Mutex<Vec<Entry>>,
    /// Held from taking entries out of `pending` until they are written, so
    /// that they are written in order. Locked before `pending`.
    writing: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl JournalWriter {
    pub(crate) fn new(run: RunId, store: Arc<dyn Store>, cancellation: Arc<Cancellation>) -> Self {
        Self {
            run,
            store,
            cancellation,
            lease: Mutex::new(None),
            pending: Mutex::default(),
            writing: Mutex::new(()),
        }
    }

    /// From now on writes are fenced by this lease.
    pub fn hold_lease(&self, lease: Granted) {
        *lock(&self.lease) = Some(lease);
    }

    pub fn lease(&self) -> Option<Granted> {
        lock(&self.lease).clone()
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Appends durably, after every pending entry. After a failure every later
    /// call of a plugin is refused.
    pub fn append(&self, entry: &Entry) -> Result<(), StoreError> {
        let writing = lock(&self.writing);
        lock(&self.pending).push(entry.clone());
        self.flush(writing)
    }

    /// Appends the result of a probe with the next durable entry or in the
    /// background. A crash can lose it, which is harmless: a probe can be
    /// repeated. Needs a tokio runtime.
    pub(crate) fn append_soon(self: &Arc<Self>, entry: Entry) -> Result<(), StoreError> {
        let mut pending = lock(&self.pending);
        pending.push(entry);
        let waiting = pending.len();
        drop(pending);
        if waiting >= MAX_PENDING {
            return self.flush(lock(&self.writing));
        }
        if waiting.is_multiple_of(BATCH) {
            let writer = self.clone();
            tokio::task::spawn_blocking(move || {
                // A failure closes the gate, and the next call says why.
                let _ = writer.flush(lock(&writer.writing));
            });
        }
        Ok(())
    }

    /// After a failure the entries stay pending.
    fn flush(&self, writing: MutexGuard<'_, ()>) -> Result<(), StoreError> {
        let mut entries = std::mem::take(&mut *lock(&self.pending));
        if entries.is_empty() {
            return Ok(());
        }
        let lease = self.lease();
        let written = self.store.append_all(&self.run, lease.as_ref(), &entries);
        if written.is_err() {
            let mut pending = lock(&self.pending);
            entries.append(&mut pending);
            *pending = entries;
        }
        drop(writing);
        written.inspect_err(|error| self.failed(error))
    }

    /// The store refused a write: the gate is closed.
    pub(crate) fn failed(&self, error: &StoreError) {
        match error {
            StoreError::Database { .. } => self.cancellation.break_off_for_now(format!(
                "the journal cannot be written, so nothing more is done: {error}"
            )),
            _ => self.cancellation.break_off(error.to_string()),
        }
    }
}
