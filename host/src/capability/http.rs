//! HTTP requests from the host.
//!
//! Scope grammar, one string a grant: `METHODS ADDRESS`.
//!
//! | part | form |
//! |---|---|
//! | METHODS | `GET`, `GET,HEAD`, `*` |
//! | ADDRESS | `target/PATH` (the run's target URL) or `SCHEME://HOST[:PORT]/PATH` |
//! | HOST | exact, or `*.example.com` |
//! | PATH | `*` matches within a segment, `**` (last) matches the rest |

use super::error::EffectError;
use super::secrets::Secret;
use async_trait::async_trait;
use std::fmt::Debug;
use std::time::Duration;
use url::Url;

/// A header's value.
#[derive(Clone, Debug)]
pub enum HeaderText {
    /// In the clear.
    Plain(String),
    /// `prefix` followed by the secret.
    Secret {
        /// Text before the secret, for example `Bearer `.
        prefix: String,
        /// The secret.
        secret: Secret,
    },
}

/// A request, not yet sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Absolute.
    pub url: Url,
    /// In order; names as given.
    pub headers: Vec<(String, HeaderText)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// For the whole exchange.
    pub timeout: Duration,
    /// A longer body is an error.
    pub max_response: usize,
}

impl Request {
    /// GET and HEAD are probes.
    pub fn is_probe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Lower-case names, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Decides for each hop whether it may be asked, and whether a secret may go
/// there.
pub trait HopPolicy: Send + Sync {
    /// Whether `method` on `url` is covered by the plugin's grants.
    fn allows(&self, method: &str, url: &Url) -> Result<(), EffectError>;
    /// Whether the secret may be sent to `url`.
    fn allows_secret(&self, name: &str, url: &Url) -> bool;
    /// Whether link-local and metadata addresses may be connected to for this
    /// host (only when the grant names the literal address).
    fn allows_link_local(&self, url: &Url) -> bool;
}

/// Sends requests.
#[async_trait]
pub trait Http: Send + Sync + Debug {
    /// Sends one; follows up to 5 redirects of probes, asking `policy` each
    /// time.
    async fn send(
        &self,
        request: &Request,
        policy: &dyn HopPolicy,
    ) -> Result<Response, EffectError>;
}
