//! Writes what happens in a run: into the journal and to the reporters. An
//! event follows its entry, so nobody is shown what the journal does not have.

use crate::journaled::journal_writer::JournalWriter;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use vdeploy_core::event::RunEvent;
use vdeploy_journal::{Entry, StoreError};

#[derive(Debug)]
pub struct Recorder {
    pub journal: Arc<JournalWriter>,
    events: UnboundedSender<RunEvent>,
}

impl Recorder {
    pub(crate) fn new(journal: Arc<JournalWriter>, events: UnboundedSender<RunEvent>) -> Self {
        Self { journal, events }
    }

    /// Sends an event that has no entry.
    pub fn emit(&self, event: impl Into<Option<RunEvent>>) {
        if let Some(event) = event.into() {
            // A closed receiver means that nobody watches; the run continues.
            let _ = self.events.send(event);
        }
    }

    /// Appends an entry that has no event.
    pub fn append(&self, entry: &Entry) -> Result<(), StoreError> {
        self.journal.append(entry)
    }

    /// Appends the entry durably, then sends the event.
    pub fn record(
        &self,
        entry: &Entry,
        event: impl Into<Option<RunEvent>>,
    ) -> Result<(), StoreError> {
        self.journal.append(entry)?;
        self.emit(event);
        Ok(())
    }

    /// As `record`, but a crash can lose the entry: the result of a probe.
    pub(crate) fn record_soon(
        &self,
        entry: Entry,
        event: impl Into<Option<RunEvent>>,
    ) -> Result<(), StoreError> {
        self.journal.append_soon(entry)?;
        self.emit(event);
        Ok(())
    }
}
