//! One command on one channel. A probe may be repeated; a change is a job and
//! lives in [`crate::jobs`].

mod capture;
pub(crate) mod command_line;
pub(crate) mod output;
mod probe;
pub(crate) mod process_group;
mod retry;
