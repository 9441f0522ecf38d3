//! HTTP from the host: plugins' requests with a policy asked before each hop.
//!
//! Owns redirects, address checks and limits. What a grant means is the
//! policy's business.

mod failure;
mod names;
mod send;
#[cfg(test)]
mod tests;

pub use names::LocalNames;
pub use send::ReqwestHttp;
