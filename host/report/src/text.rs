//! Reports for people: lines, a live line on a terminal, and the final block.

pub(crate) mod lines;
pub(crate) mod live;
pub(crate) mod plain;
pub(crate) mod summary;
