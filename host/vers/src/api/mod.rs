//! The REST API: client, requests, answers, errors. Tolerant where versions of
//! the API differ.

pub(crate) mod client;
pub(crate) mod error;
mod excerpt;
pub(crate) mod request;
mod server_clock;
pub(crate) mod types;
