//! How the host logs in: the user's keys and agent, and the platform's key.

pub(crate) mod agent;
pub(crate) mod identity;
pub(crate) mod login;
pub(crate) mod private_key;
pub(crate) mod rsa;
