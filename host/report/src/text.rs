//! Reports for people: lines, a live line on a terminal, and the summary.

mod format;
mod lines;
mod live;
mod plain;
mod summary;

pub(crate) use format::{Tone, age, duration, elapsed, size, table};
pub use live::LiveReporter;
pub use plain::PlainReporter;
pub(crate) use summary::failure_line;
