//! One request to the API: sends it, retries where that is safe, and reads the
//! answer without trusting its form.

use crate::api::client::VersClient;
use crate::api::error::VersError;
use crate::api::excerpt::excerpt;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use vdeploy_core::backoff::{Backoff, deadline};
use vdeploy_net::tls::cause;
use zeroize::Zeroizing;

/// Attempts of a call that is safe to repeat.
const MAX_ATTEMPTS: usize = 4;
/// The longest `Retry-After` that is honoured.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Bytes; a longer answer is not read.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

pub(crate) struct Call<'a> {
    /// For messages.
    pub(crate) name: String,
    pub(crate) method: Method,
    /// Below `/api/v1`, unescaped.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a [(&'a str, String)],
    pub(crate) body: Option<Value>,
    pub(crate) timeout: Duration,
    /// It resumes a VM.
    pub(crate) wakes: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn get(name: impl Into<String>, path: &'a [&'a str], timeout: Duration) -> Self {
        Self {
            name: name.into(),
            method: Method::GET,
            path,
            query: &[],
            body: None,
            timeout,
            wakes: false,
        }
    }
}

/// An answer with a success status.
pub(crate) struct Answer {
    name: String,
    body: Zeroizing<String>,
    excerpt: String,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, VersError> {
        serde_json::from_str(&self.body).map_err(|e| VersError::Answer {
            call: self.name.clone(),
            why: e.to_string(),
            body: self.excerpt.clone(),
        })
    }
}

impl VersClient {
    /// Sends a call. Retries every call without a connection, since nothing was
    /// sent, and on 429, since it was refused. Retries other passing errors for
    /// reads only: a change may have had its effect, whatever the answer says.
    /// Retries a read that times out once, over another connection. Never retries
    /// 409 and an exhausted quota: they do not pass.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer, VersError> {
        let read = call.method == Method::GET;
        let mut until = deadline(call.timeout);
        let mut unanswered = false;
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut left = MAX_ATTEMPTS;
        loop {
            left = left.saturating_sub(1);
            let (error, asked) = match self.send_held(&call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if read && !unanswered && matches!(error, VersError::Timeout { .. }) {
                tracing::debug!(%error, "retrying once");
                unanswered = true;
                until = deadline(call.timeout);
                continue;
            }
            let again = match &error {
                VersError::Unreachable { .. } | VersError::Status { status: 429, .. } => true,
                VersError::Dropped { .. } => read,
                VersError::Status { status, .. } => read && matches!(status, 408 | 500 | 502..=504),
                _ => false,
            };
            // Without `Retry-After` the back-off applies.
            let own = backoff.next_wait();
            let wait = asked.map_or(own, |asked| asked.max(own));
            if !again || left == 0 || Instant::now() + wait >= until {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, "retrying");
            sleep(wait).await;
        }
    }

    /// A change is sent only while the run's lease is certainly valid.
    async fn send_held(&self, call: &Call<'_>) -> Result<Answer, (VersError, Option<Duration>)> {
        let sending = self.send_once(call);
        if call.method == Method::GET {
            return sending.await;
        }
        let sent = match call.wakes {
            // A suspended VM cannot confirm the lease on it, so a host that slept
            // meanwhile would wait for its answer forever.
            true => self.leases.in_store().guard(sending).await,
            false => self.leases.guard(sending).await,
        };
        sent.unwrap_or_else(|lost| {
            let fenced = VersError::Fenced {
                call: call.name.clone(),
                why: lost.how.why,
                begun: lost.begun,
            };
            Err((fenced, None))
        })
    }

    /// On failure: the error, and the wait that the server asked for.
    async fn send_once(&self, call: &Call<'_>) -> Result<Answer, (VersError, Option<Duration>)> {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .bearer_auth(self.api_key.expose());
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let exchange = async {
            let mut response = request.send().await?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > LONGEST_ANSWER {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok((response.status().as_u16(), response.headers().clone(), body))
        };
        let (status, headers, body) = match timeout(call.timeout, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err((self.no_answer(call, &error), None)),
            Err(_) => {
                let error = VersError::Timeout {
                    call: call.name.clone(),
                    after: call.timeout,
                };
                return Err((error, None));
            }
        };
        self.clock.learn(&headers);
        let body = match String::from_utf8(body) {
            Ok(text) => text,
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        };
        // It may hold a private key.
        let body = Zeroizing::new(body);
        let excerpt = excerpt(&body, &self.api_key);
        if (200..300).contains(&status) {
            return Ok(Answer {
                name: call.name.clone(),
                body,
                excerpt,
            });
        }
        Err((
            refusal(&call.name, status, &body, excerpt),
            retry_after(&headers),
        ))
    }

    fn no_answer(&self, call: &Call<'_>, error: &reqwest::Error) -> VersError {
        let why = cause(error);
        let call = call.name.clone();
        if error.is_connect() || error.is_builder() {
            VersError::Unreachable {
                call,
                root: self.root.to_string(),
                why,
            }
        } else {
            VersError::Dropped { call, why }
        }
    }
}

/// Maps a status to an error. The form of the body decides only where two meanings
/// share a status.
fn refusal(call: &str, status: u16, body: &str, excerpt: String) -> VersError {
    let call = call.to_owned();
    let json = serde_json::from_str::<Value>(body).is_ok_and(|v| v.is_object());
    if (400..500).contains(&status) && status != 401 && names_a_quota(body) {
        return VersError::Quota {
            call,
            status,
            body: excerpt,
        };
    }
    match status {
        401 => VersError::Key { call, status },
        403 if !json => VersError::Key { call, status },
        403 => VersError::NotYours {
            call,
            body: excerpt,
        },
        404 => VersError::NotFound {
            call,
            status,
            body: excerpt,
        },
        409 => VersError::Conflict {
            call,
            body: excerpt,
        },
        _ => VersError::Status {
            call,
            status,
            body: excerpt,
        },
    }
}

/// Whether a refusal is about the quota and not about the rate. They share a
/// status.
fn names_a_quota(body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    let limit = ["limit reached", "limit exceeded", "exceeds the limit"];
    body.contains("quota")
        || (limit.iter().any(|words| body.contains(words)) && !body.contains("rate limit"))
}

/// `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let span = at.duration_since(jiff::Timestamp::now());
            Duration::try_from(span).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}
