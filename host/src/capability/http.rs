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

use super::error::{EffectError, ErrorKind};
use super::secrets::Secret;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Mutex;
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

/// Refuses every request.
#[derive(Debug, Default)]
pub struct DenyHttp;

#[async_trait]
impl Http for DenyHttp {
    async fn send(&self, request: &Request, _: &dyn HopPolicy) -> Result<Response, EffectError> {
        Err(EffectError::new(
            ErrorKind::Denied,
            "http.denied",
            format!(
                "{} {} is refused: there is no HTTP here",
                request.method, request.url
            ),
        ))
    }
}

type Answer = dyn Fn(&Request) -> Result<Response, EffectError> + Send + Sync;

/// Answers from a function and keeps what was asked. The policy is asked as
/// the real one would be; redirects are not followed.
pub struct RecordingHttp {
    answer: Box<Answer>,
    requests: Mutex<Vec<Request>>,
}

impl RecordingHttp {
    /// `answer` is called for each allowed request.
    pub fn new(
        answer: impl Fn(&Request) -> Result<Response, EffectError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            requests: Mutex::default(),
        }
    }

    /// Answers in this order, then with `http.closed`.
    pub fn queue(answers: impl IntoIterator<Item = Result<Response, EffectError>>) -> Self {
        let answers: Mutex<VecDeque<_>> = Mutex::new(answers.into_iter().collect());
        Self::new(move |request| {
            let mut answers = answers.lock().unwrap_or_else(|e| e.into_inner());
            answers.pop_front().unwrap_or_else(|| {
                Err(EffectError::new(
                    ErrorKind::Unavailable,
                    "http.closed",
                    format!(
                        "no recorded answer is left for {} {}",
                        request.method, request.url
                    ),
                ))
            })
        })
    }

    /// What was asked, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }
}

impl Debug for RecordingHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingHttp").finish_non_exhaustive()
    }
}

#[async_trait]
impl Http for RecordingHttp {
    async fn send(
        &self,
        request: &Request,
        policy: &dyn HopPolicy,
    ) -> Result<Response, EffectError> {
        policy.allows(&request.method, &request.url)?;
        self.requests
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(request.clone());
        (self.answer)(request)
    }
}
