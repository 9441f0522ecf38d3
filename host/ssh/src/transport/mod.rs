//! What a job needs of a connection.

pub(crate) mod endpoint;
