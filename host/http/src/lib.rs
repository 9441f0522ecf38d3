//! Sends plugins' HTTP requests from the host. A policy decides on each hop.
//!
//! Owns redirects, address checks and limits; the policy owns the meaning of
//! grants.

mod failure;
mod resolver;
mod send;
#[cfg(test)]
mod tests;

pub use resolver::LocalNames;
pub use send::ReqwestHttp;
