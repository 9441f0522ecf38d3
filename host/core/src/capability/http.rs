//! HTTP requests from the host. The scopes are in `vdeploy-scope`.

use super::error::EffectError;
use super::secrets::Secret;
use async_trait::async_trait;
use std::fmt::Debug;
use std::net::IpAddr;
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
    /// How it is found out whether a change has arrived whose answer was lost.
    pub read_back: Option<ReadBack>,
}

/// A GET whose answer tells whether a change has arrived.
#[derive(Clone, Debug)]
pub struct ReadBack {
    /// Absolute.
    pub url: Url,
    /// In the body when it has arrived.
    pub text: String,
}

impl Request {
    /// GET and HEAD are probes.
    pub fn is_probe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// Whether the server recognises it when it gets it twice: the plugin says
    /// so by giving it a key.
    pub fn has_key(&self) -> bool {
        let mut names = self.headers.iter().map(|(name, _)| name);
        names.any(|name| name.eq_ignore_ascii_case("idempotency-key"))
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

/// How an address relates to the run's target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nearness {
    /// The target's own scheme, host and port.
    Origin,
    /// The target's host.
    Host,
    /// Anything else.
    Elsewhere,
}

/// Decides for each hop whether it may be asked, and whether a secret may go
/// there.
pub trait HopPolicy: Send + Sync {
    /// Whether `method` on `url` is covered by the plugin's grants.
    fn allows(&self, method: &str, url: &Url) -> Result<(), EffectError>;
    /// Whether the secret may be sent to `url`.
    fn allows_secret(&self, name: &str, url: &Url) -> bool;
    /// How `url` relates to the run's target, whose TLS settings and addresses
    /// the operator chose.
    fn nearness(&self, url: &Url) -> Nearness;
    /// Whether the grants name `ip`, to which the host of `url` leads and which
    /// is not a public address, for this very request. The error is the line of
    /// the project file that would.
    fn names_address(&self, method: &str, url: &Url, ip: IpAddr) -> Result<(), String>;
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
