//! What goes into the journal, and with it to the reporters.

pub mod journal_writer;
pub mod recorder;
